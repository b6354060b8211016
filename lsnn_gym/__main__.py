"""``python -m lsnn_gym`` is ``lsnn-gym``: what ``torchrun -m`` needs."""

from lsnn_gym.cli import main

if __name__ == "__main__":
    main()
