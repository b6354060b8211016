"""A recurrent layer whose forward and backward pass can be timed, whoever computes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Layer(ABC):
    """A recurrent layer from inputs ``[T, B, I]`` to outputs ``[T, B, N]``, at rest before every sequence.

    Attributes:
        weights: Input and recurrent weights; ``learn`` leaves their gradients in ``grad``.
    """

    weights: Sequence[Tensor]

    @abstractmethod
    def learn(self, inputs: Tensor, by_outputs: Tensor) -> Tensor:
        """Compute a batch of sequences and the derivatives of a loss by the weights.

        Args:
            inputs: ``[T, B, I]``.
            by_outputs: The loss's derivative by the outputs ``[T, B, N]``.

        Returns:
            The outputs ``[T, B, N]``.
        """


class DifferentiatedLayer(Layer):
    """A layer that is differentiated by autograd, or by an autograd function of its own.

    Args:
        forward: From inputs ``[T, B, I]`` to outputs ``[T, B, N]``.
        weights: Leaves that ``forward`` depends on.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor], weights: Sequence[Tensor]) -> None:
        self.forward = forward
        self.weights = weights

    def learn(self, inputs: Tensor, by_outputs: Tensor) -> Tensor:
        """Run ``forward`` and go back through it; see ``Layer``."""
        for weight in self.weights:
            weight.grad = None
        outputs = self.forward(inputs)
        outputs.backward(by_outputs)
        return outputs.detach()


class DenseProducts(Layer):
    """The matrix products that a dense recurrent layer cannot do without, and nothing else: the floor.

    They are those of the linear network y[t] = W_in x[t] + W_rec y[t-1], its errors being
    e[t] = dL/dy[t] + W_rec' e[t+1]; the gradients are the sums of e[t] x[t]' and e[t] y[t-1]'.

    Args:
        by_input: W_in ``[N, I]``.
        recurrent: W_rec ``[N, N]``, of a spectral radius below 1.
        at_once: Whether what need not wait for the step before (W_in x and both gradients) is one product over
            all steps; else all products are taken step by step.
    """

    def __init__(self, by_input: Tensor, recurrent: Tensor, *, at_once: bool) -> None:
        self.weights: Sequence[Tensor] = (by_input, recurrent)
        self.at_once = at_once

    def learn(self, inputs: Tensor, by_outputs: Tensor) -> Tensor:
        """Take the products of the forward and the backward pass; see ``Layer``."""
        by_input, recurrent = self.weights
        with torch.no_grad():
            outputs = self._forward(inputs)
            if self.at_once:
                errors = by_outputs.clone()
                for t in reversed(range(len(errors) - 1)):
                    errors[t].addmm_(errors[t + 1], recurrent)
                by_input.grad = errors.flatten(0, 1).T @ inputs.flatten(0, 1)
                recurrent.grad = errors[1:].flatten(0, 1).T @ outputs[:-1].flatten(0, 1)
            else:
                by_input.grad, recurrent.grad = self._backward_step_by_step(inputs, outputs, by_outputs)
        return outputs

    def _forward(self, inputs: Tensor) -> Tensor:
        by_input, recurrent = self.weights
        empty = inputs.new_empty(*inputs.shape[:2], len(by_input))
        outputs = torch.matmul(inputs, by_input.T, out=empty) if self.at_once else empty
        before = None
        for arrived, output in zip(inputs, outputs, strict=True):
            if not self.at_once:
                torch.mm(arrived, by_input.T, out=output)
            if before is not None:
                output.addmm_(before, recurrent.T)
            before = output
        return outputs

    def _backward_step_by_step(
        self, inputs: Tensor, outputs: Tensor, by_outputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        by_input, recurrent = self.weights
        of_input, of_recurrent = torch.zeros_like(by_input), torch.zeros_like(recurrent)
        error = torch.zeros_like(by_outputs[0])
        for t in reversed(range(len(inputs))):
            error = torch.addmm(by_outputs[t], error, recurrent)
            of_input.addmm_(error.T, inputs[t])
            if t > 0:
                of_recurrent.addmm_(error.T, outputs[t - 1])
        return of_input, of_recurrent
