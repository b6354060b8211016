"""Spiking recurrent agents (LSNN), the environments they learn in, and how they learn.

Importing the package registers its environments with Gymnasium and loads no PyTorch.
"""

from lsnn_gym import envs

__all__ = ["__version__", "envs"]

__version__ = "0.1.0"
