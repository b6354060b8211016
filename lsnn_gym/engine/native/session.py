"""Networks that act: one call a simulation step, and their state stays with the kernels in between."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from lsnn_gym.engine.native import library
from lsnn_gym.neurons import NeuronParameters, SpikingState


class Session:
    """B networks that run on from a state, some simulation steps a call, without gradients.

    A state in tensors is turned into the kernels' form and back in every call of ``native.run``, which takes longer
    than a step itself, the more so the longer the delays. Here that happens at the start only.

    Args:
        functions: The kernels for the type of the numbers.
        problem: One step of B networks; its constants are those of ``keep``.
        weights: In the kernels' form.
        state: Where the networks start.
        keep: Must live as long as the session does.

    Raises:
        MemoryError: If there is none left.
    """

    def __init__(
        self,
        functions: library.Functions,
        problem: library.Problem,
        weights: library.PreparedWeights,
        state: SpikingState,
        keep: NeuronParameters,
    ) -> None:
        self._functions = functions
        self._keep = (keep, weights)
        self._like = state
        self._handle = functions.begin(problem, weights.handle, library.pointers(state))
        if not self._handle:
            raise MemoryError(f"no memory for {self.batch_size} networks that act")

    def run(self, inputs: Tensor, reset: Tensor | None, noise_current: Tensor | None) -> Tensor:
        """Take T steps; arguments and spikes ``[T, B, N]`` are those of ``reference.run``."""
        steps, batch_size = inputs.shape[:2]
        inputs = inputs.contiguous()
        noise = None if noise_current is None else noise_current.contiguous()
        starts = None if reset is None else (reset != 0).contiguous()
        spikes = inputs.new_empty(steps, batch_size, self._like.voltage.shape[1])
        arrays = (inputs, noise, starts, spikes)
        addresses = [None if each is None else each.data_ptr() for each in arrays]
        strides = [0 if each is None else each.stride(0) * each.element_size() for each in arrays]
        for t in range(steps):
            moved = (
                None if address is None else address + t * stride
                for address, stride in zip(addresses, strides, strict=True)
            )
            self.step(*moved)
        return spikes

    def step(
        self, inputs: int | None, noise_current: int | None, reset: int | None, spikes: int | None
    ) -> None:
        """Take one step; the arguments are the addresses of contiguous arrays of the networks' own type.

        Args:
            inputs: ``[B, I]``.
            noise_current: ``[B, N]``, or None.
            reset: ``[B]``, of bytes, or None.
            spikes: ``[B, N]``, written to.
        """
        self._functions.step(self._handle, inputs, noise_current, reset, spikes)

    @property
    def batch_size(self) -> int:
        """Return B."""
        return len(self._like.voltage)

    def state(self) -> SpikingState:
        """Return the networks' state as it is now."""
        state = SpikingState(*(torch.empty_like(each) for each in self._like))
        self._functions.write(self._handle, ctypes.byref(library.pointers(state)))
        return state

    def __del__(self) -> None:
        """Give the memory back."""
        if getattr(self, "_handle", None):
            self._functions.finish(self._handle)
