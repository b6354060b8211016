"""The gates of an LSTM at the start of training."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def open_forget_gates_(lstm: nn.Module, bias: float) -> None:
    """Add ``bias`` to the biases of all forget gates, in place, so that states last from the start.

    Source: Gers, Schmidhuber, Cummins, Neural Computation 2000; of the size, the logarithm of the steps to keep:
    Tallec, Ollivier, Can recurrent neural networks warp time?, ICLR 2018.

    Args:
        lstm: ``torch.nn.LSTM`` or ``LSTMCell``; each layer has two biases that add up, one of which is changed.
        bias: To add.
    """
    for name, values in lstm.named_parameters():
        if name.startswith("bias_hh"):  # its gates are input, forget, cell, output
            values.chunk(4)[1].add_(bias)
