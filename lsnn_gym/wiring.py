"""Initial wiring: which synapses exist, how strong they are, and which sign they keep (Dale's law).

All matrices are ``[post, pre]``. Weights have the unit of the neurons' input current per unit of activity.

Source: the authors' code of Bellec, Salaj, Subramoney, Legenstein, Maass: Long short-term memory and
learning-to-learn in networks of spiking neurons, NIPS 2018.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from lsnn_gym.settings import Settings


class Wiring(NamedTuple):
    """A matrix as magnitude and sign: ``weight = sign * theta`` where ``theta > 0``, and exactly 0 elsewhere.

    Attributes:
        theta: ``[post, pre]``, what is trained; a synapse is connected where it is positive.
        sign: ``[post, pre]``, +1 or -1, which a synapse has whenever it is connected.
    """

    theta: Tensor
    sign: Tensor

    def weight(self, *, keep_signs: bool = True) -> Tensor:
        """Return the weights ``[post, pre]`` that act; without ``keep_signs``, ``sign * theta`` everywhere."""
        product = self.sign * self.theta
        return torch.where(self.theta > 0, product, 0.0) if keep_signs else product

    def copy_like(self, weight: Tensor) -> Wiring:
        """Return contiguous copies in the dtype of ``weight`` and on its device."""
        return Wiring(*(each.to(weight).clone(memory_format=torch.contiguous_format) for each in self))


def initial_weight(
    shape: tuple[int, int], generator: torch.Generator, scale: float = 1.0, wiring: Wiring | None = None
) -> Tensor:
    """Return the weights ``[post, pre]`` to start with: those of ``wiring``, or N(0, 1) / sqrt(pre).

    They are multiplied by ``scale``.
    """
    if wiring is not None:
        return scale * wiring.weight()
    return torch.randn(shape, generator=generator) * (scale / math.sqrt(shape[1]))


class WiringSettings(Settings):
    """Which synapses of a network exist, and which signs they keep."""

    kind: Literal["dense", "deep_r", "fixed_sparse"] = Field(
        default="dense", description="all synapses, rewired during training, or some of them for good"
    )
    connectivity: float = Field(default=1.0, gt=0, le=1, description="share of the synapses that exist")
    l1: float = Field(default=0.01, ge=0, description="deep_r: theta shrinks by learning rate * l1 a step")
    temperature: float = Field(default=0.0, ge=0, description="deep_r: of the noise on theta")
    dale: bool = Field(
        default=False, description="whether a neuron's synapses all have one sign (Dale's law)"
    )
    excitatory_share: float = Field(
        default=0.75, ge=0, le=1, description="of input and recurrent neurons, with dale"
    )

    @property
    def managed(self) -> bool:
        """Return whether the matrices need a wiring optimiser at all."""
        return self.kind != "dense" or self.dale


@dataclass(frozen=True, eq=False)
class WiredMatrix:
    """A weight matrix whose connections are managed.

    Attributes:
        weight: ``[post, pre]``, a parameter of the optimiser in float32 or float64 (a new connection's 1e-12
            would be lost in shorter formats).
        connectivity: Share of its synapses that it contributes to the common budget, in (0, 1].
        l1: Strength of the L1 term: theta shrinks by ``learning rate * l1`` a step.
        temperature: Of the noise on theta, whose standard deviation is ``sqrt(2 * learning rate * temperature)``.
        wiring: At the start; None draws it, without Dale's law.
        keep_signs: For ``Dense`` and ``FixedSparse``: whether a weight stops at 0 instead of changing its sign
            (for Dale's law). In ``DeepR`` it always does.
    """

    weight: Tensor
    connectivity: float = 1.0
    l1: float = 0.01
    temperature: float = 0.0
    wiring: Wiring | None = None
    keep_signs: bool = False

    def __post_init__(self) -> None:
        shape, dtype = list(self.weight.shape), self.weight.dtype
        if len(shape) != 2 or dtype not in (torch.float32, torch.float64):
            raise ValueError(f"weight is {shape} in {dtype}: expected [post, pre] in float32 or float64")
        if not 0 < self.connectivity <= 1:
            raise ValueError(f"connectivity is {self.connectivity:g}: expected more than 0 and at most 1")
        for name, value in (("l1", self.l1), ("temperature", self.temperature)):
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} is {value:g}: expected at least 0")
        for name, tensor in (self.wiring._asdict() if self.wiring else {}).items():
            if list(tensor.shape) != shape:
                raise ValueError(f"{name} is {list(tensor.shape)}: expected {shape} as the weight is")

    def wiring_or_draw(self, generator: torch.Generator, *, with_replacement: bool) -> Wiring:
        """Return the wiring that was given, or draw it (see ``draw_wiring``)."""
        if self.wiring is not None:
            return self.wiring
        num_post, num_pre = self.weight.shape
        dtype, shape = self.weight.dtype, (num_post, num_pre)
        return draw_wiring(
            shape, self.connectivity, generator, with_replacement=with_replacement, dtype=dtype
        )


def num_excitatory(num_neurons: int, share: float = 0.75) -> int:
    """Return how many of the neurons are excitatory: ``int(share * num_neurons) + 1``, at most all of them.

    Raises:
        ValueError: If there are no neurons, or the share is not in [0, 1].
    """
    if num_neurons < 1 or not 0 <= share <= 1:
        raise ValueError(
            f"{num_neurons} neurons, {share:g} of them excitatory: expected at least 1, a share from 0 to 1"
        )
    return min(num_neurons, int(share * num_neurons) + 1)


def recurrent_signs(num_neurons: int, share: float = 0.75) -> Tensor:
    """Return the signs ``[N]`` of recurrent neurons: the first ones inhibitory (-1), the others excitatory (+1).

    They constrain both what the neurons send to each other and what they send to the readout. Where the
    adaptive neurons come last, as in ``SpikingRNN``, all of these may be excitatory.
    """
    signs = torch.ones(num_neurons)
    signs[: num_neurons - num_excitatory(num_neurons, share)] = -1
    return signs


def input_signs(num_inputs: int, generator: torch.Generator, share: float = 0.75) -> Tensor:
    """Return the signs ``[I]`` of input channels: as many of each as ``recurrent_signs`` has, in random order."""
    order = torch.randperm(num_inputs, generator=generator, device=generator.device)
    return recurrent_signs(num_inputs, share)[order.cpu()]


def balance_inputs(weight: Tensor) -> Tensor:
    """Return weights ``[post, pre]`` whose sum over each neuron's inputs is 0.

    What is missing is added in equal parts to a neuron's excitatory weights where inhibition prevails, and to
    its inhibitory weights where excitation does: magnitudes grow, signs stay. A neuron that lacks one of the
    two kinds loses all its inputs.
    """
    excitatory, inhibitory = weight > 0, weight < 0
    num_exc = excitatory.sum(dim=1, keepdim=True)
    num_inh = inhibitory.sum(dim=1, keepdim=True)
    surplus = weight.sum(dim=1, keepdim=True)
    raised = torch.where(excitatory, (-surplus).clamp(min=0) / num_exc.clamp(min=1), 0.0)
    lowered = torch.where(inhibitory, surplus.clamp(min=0) / num_inh.clamp(min=1), 0.0)
    return torch.where((num_exc > 0) & (num_inh > 0), weight + raised - lowered, 0.0)


def scale_to_unit_radius(weight: Tensor) -> Tensor:
    """Return square weights ``[N, N]`` divided by their spectral radius.

    Raises:
        ValueError: If the radius is 0, as it is without any weights.
    """
    radius = float(torch.linalg.eigvals(weight).abs().max())
    if radius == 0:
        raise ValueError(f"weights {list(weight.shape)} have spectral radius 0: they cannot be scaled to 1")
    return weight / radius


def balanced_weights(magnitude: Tensor, pre_signs: Tensor) -> Tensor:
    """Return fully connected weights ``[N, N]`` that obey Dale's law, balanced and of spectral radius 1.

    Args:
        magnitude: ``[post, pre]``, square; only the absolute values count.
        pre_signs: +1 or -1 ``[pre]``, the sign of all that a neuron sends.

    Raises:
        ValueError: If the matrix is not square or all neurons are of one kind, so that nothing can balance.
    """
    size = len(pre_signs)
    if magnitude.shape != (size, size):
        raise ValueError(
            f"magnitudes are {list(magnitude.shape)}: expected [{size}, {size}] as signs are [{size}]"
        )
    excitatory = int((pre_signs > 0).sum())
    if excitatory in (0, size):
        raise ValueError(
            f"{excitatory} of {size} presynaptic neurons are excitatory: balanced weights need both kinds "
            "(with a share of 0.75, at least 5 neurons)"
        )
    weight = magnitude.abs() * pre_signs
    ratio = weight[:, pre_signs > 0].sum() / -weight[:, pre_signs < 0].sum()
    weight = torch.where(pre_signs < 0, ratio * weight, weight)
    return scale_to_unit_radius(balance_inputs(weight))


def pairs_mask(post: Tensor, pre: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return the mask ``[post, pre]`` that is True at the pairs of indices ``post[k], pre[k]``."""
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[post, pre] = True
    return mask


def draw_mask(
    shape: tuple[int, int], connectivity: float, generator: torch.Generator, *, with_replacement: bool = True
) -> Tensor:
    """Draw which of the synapses ``[post, pre]`` exist at the start.

    Args:
        shape: Postsynaptic and presynaptic neurons.
        connectivity: Share of all synapses, in (0, 1].
        generator: Source of the draws.
        with_replacement: Whether the same synapse can be drawn twice, as in the authors' code, so that fewer
            than ``int(post * pre * connectivity)`` are connected and DEEP R's first step tops up; otherwise
            it is exactly that number.

    Raises:
        ValueError: If the connectivity is out of range.
    """
    if not 0 < connectivity <= 1:
        raise ValueError(f"connectivity is {connectivity:g}: expected more than 0 and at most 1")
    num_post, num_pre = shape
    wanted = int(num_post * num_pre * connectivity)
    device = generator.device
    if with_replacement:
        post = torch.randint(num_post, (wanted,), generator=generator, device=device)
        pre = torch.randint(num_pre, (wanted,), generator=generator, device=device)
    else:
        chosen = torch.randperm(num_post * num_pre, generator=generator, device=device)[:wanted]
        post, pre = chosen // num_pre, chosen % num_pre
    return pairs_mask(post.cpu(), pre.cpu(), shape)


def free_wiring(mask: Tensor, magnitude: Tensor, sign_draw: Tensor) -> Wiring:
    """Return wiring without Dale's law from standard normal draws, all ``[post, pre]``.

    ``theta = |magnitude| / sqrt(pre)`` on the mask; each synapse has the sign of its own ``sign_draw``.
    """
    theta = torch.where(mask, magnitude.abs() / math.sqrt(mask.shape[1]), 0.0)
    return Wiring(theta, torch.where(sign_draw < 0, -1.0, 1.0).to(theta.dtype))


def dale_wiring(mask: Tensor, magnitude: Tensor, pre_signs: Tensor, targets: Tensor) -> Wiring:
    """Return wiring that obeys Dale's law: rows ``targets`` of the balanced weights, then the mask.

    Balance and spectral radius hold before masking only.

    Args:
        mask: ``[post, pre]``.
        magnitude: Standard normal draws ``[pre, pre]``.
        pre_signs: +1 or -1 ``[pre]``.
        targets: Which of the rows each postsynaptic neuron gets ``[post]``.
    """
    weight = balanced_weights(magnitude, pre_signs)[targets]
    sign = pre_signs.to(weight.dtype).expand_as(weight).clone()
    return Wiring(torch.where(mask, weight.abs(), 0.0), sign)


def draw_wiring(
    shape: tuple[int, int],
    connectivity: float,
    generator: torch.Generator,
    *,
    pre_signs: Tensor | None = None,
    with_replacement: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Wiring:
    """Draw the initial wiring of a sparse matrix ``[post, pre]``.

    Args:
        shape: Postsynaptic and presynaptic neurons.
        connectivity: Share of all synapses that are connected, in (0, 1]; see ``draw_mask``.
        generator: Source of the draws; the same seed gives the same wiring.
        pre_signs: +1 or -1 ``[pre]`` for Dale's law, with balanced weights; None for a random sign each. With
            fewer presynaptic than postsynaptic neurons, some of the latter start with equal weights before
            masking.
        with_replacement: See ``draw_mask``.
        dtype: Of the result.

    Returns:
        Theta and sign, on the CPU.

    Raises:
        ValueError: If the connectivity is out of range or the signs do not fit.
    """
    num_post, num_pre = shape
    if pre_signs is not None and pre_signs.shape != (num_pre,):
        raise ValueError(f"signs are {list(pre_signs.shape)}: expected [{num_pre}] for weights {list(shape)}")
    mask = draw_mask(shape, connectivity, generator, with_replacement=with_replacement)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, device=generator.device, dtype=dtype).cpu()

    if pre_signs is None:
        return free_wiring(mask, normal(*shape), normal(*shape))
    magnitude = normal(num_pre, num_pre)
    targets = torch.arange(num_post)
    if num_post > num_pre:
        targets = torch.randint(num_pre, (num_post,), generator=generator, device=generator.device).cpu()
    return dale_wiring(mask, magnitude, pre_signs.cpu().to(dtype), targets)
