"""What the command line, ``lsnn_gym.cli``, is made of besides its commands."""
