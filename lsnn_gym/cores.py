"""Recurrent cores behind one interface: what remembers, and turns encoded observations into outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from lsnn_gym.counts import counted
from lsnn_gym.gates import open_forget_gates_
from lsnn_gym.neurons import SpikingState, TimeConstant
from lsnn_gym.readouts import LeakyReadout
from lsnn_gym.recurrent import ActingState, NetworkSettings, NetworkState, SpikingRNN
from lsnn_gym.rules.broadcast import Feedback
from lsnn_gym.settings import Settings
from lsnn_gym.synapses import Synapses
from lsnn_gym.wiring import WiredMatrix, Wiring, WiringSettings, draw_wiring


class CoreOutput(NamedTuple):
    """What T environment steps of B networks give.

    Attributes:
        values: Outputs ``[T, B, K]``.
        spikes: Of a spiking core ``[T * S, B, N]``, else None.
        counts: Their sums ``[N]`` (``lsnn_gym.counts``), if they were taken.
    """

    values: Tensor
    spikes: Tensor | None
    counts: Tensor | None = None


class RecurrentCore(nn.Module, ABC):
    """A recurrent network with K linear outputs. Its state is explicit, and all zeros is the rest state."""

    def wired_matrices(self) -> list[WiredMatrix]:
        """Return the weight matrices whose connections or signs are managed: none, unless a core says so."""
        return []

    @abstractmethod
    def initial_state(self, batch_size: int) -> Any:
        """Return the rest state of ``batch_size`` networks."""

    def acting_state(self, batch_size: int) -> Any:
        """Return the rest state in the form that is quickest to step through, without gradients.

        ``forward`` may change it in place; ``settled`` copies it.
        """
        return self.initial_state(batch_size)

    def settled(self, state: Any) -> Any:
        """Return what ``state``, one of ``acting_state``, is now, in the form of ``initial_state``."""
        return state

    @abstractmethod
    def pack(self, state: Any) -> Tensor:
        """Return a state as one tensor ``[B, S]``."""

    @abstractmethod
    def unpack(self, packed: Tensor) -> Any:
        """Turn ``pack``'s tensor back into a state."""

    @abstractmethod
    def draw_noise(self, steps: int, batch_size: int, generator: torch.Generator) -> Tensor | None:
        """Return the random numbers that ``forward`` takes for ``steps`` environment steps, or None."""

    @abstractmethod
    def forward(
        self, inputs: Tensor, state: Any, episode_start: Tensor, noise: Tensor | None
    ) -> tuple[CoreOutput, Any]:
        """Run T environment steps.

        Args:
            inputs: Encoded observations ``[T, S, B, I]``, S simulation steps each.
            state: Before the first step.
            episode_start: ``[T, B]``, non-zero where an episode starts: the state is put to rest before it.
            noise: From ``draw_noise``.
        """


def wired_matrices(parts: Iterable[Synapses | LeakyReadout], settings: WiringSettings) -> list[WiredMatrix]:
    """Return the matrices of ``parts`` whose connections or signs are managed, as they are now."""
    return [
        WiredMatrix(
            part.weight,
            settings.connectivity,
            settings.l1,
            settings.temperature,
            Wiring(part.weight.detach().abs(), part.sign),
            keep_signs=settings.dale,
        )
        for part in parts
        if part.sign is not None
    ]


def draw_readout(
    network: SpikingRNN, output_size: int, tau: TimeConstant, generator: torch.Generator
) -> LeakyReadout:
    """Return a readout of ``network`` whose wiring and feedback are as its settings say.

    Args:
        network: N neurons.
        output_size: K.
        tau: Time constant of the filters in ms, or a range to draw each neuron's from.
        generator: Source of the initial weights.
    """
    settings = network.settings
    wiring = settings.wiring
    shape = (output_size, network.num_neurons)
    return LeakyReadout(
        network.num_neurons,
        output_size,
        tau=tau,
        dt=settings.dt,
        generator=generator,
        wiring=draw_wiring(shape, wiring.connectivity, generator, pre_signs=network.signs)
        if wiring.managed
        else None,
        feedback=Feedback(settings.feedback),
    )


class LSNNState(NamedTuple):
    """State of an ``LSNNCore``: the network's, and the readout filters' ``[B, R]``."""

    network: NetworkState
    readout: Tensor


class LSNNCore(RecurrentCore):
    """A spiking network with leaky readouts; the outputs are those at the end of each environment step.

    Args:
        settings: Of the network.
        input_size: I.
        output_size: K.
        tau_readout: Time constant of the readouts in ms, or a range to draw each neuron's from.
        steps_per_observation: S, simulation steps an environment step lasts.
        generator: Source of the initial weights and constants.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        input_size: int,
        output_size: int,
        *,
        tau_readout: TimeConstant,
        steps_per_observation: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.steps_per_observation = steps_per_observation
        self.network: SpikingRNN = SpikingRNN(settings, input_size, generator)
        self.readout: LeakyReadout = draw_readout(self.network, output_size, tau_readout, generator)

    def wired_matrices(self) -> list[WiredMatrix]:
        """Return the input, recurrent and readout matrices, where their connections or signs are managed."""
        parts = (self.network.input_synapses, self.network.recurrent_synapses, self.readout)
        return wired_matrices(parts, self.network.settings.wiring)

    def initial_state(self, batch_size: int) -> LSNNState:
        """Return the rest state of ``batch_size`` networks."""
        return LSNNState(self.network.initial_state(batch_size), self.readout.initial_state(batch_size))

    def acting_state(self, batch_size: int) -> LSNNState:
        """Return the rest state in the form that is quickest to step through, without gradients."""
        return LSNNState(self.network.acting_state(batch_size), self.readout.initial_state(batch_size))

    def settled(self, state: LSNNState) -> LSNNState:
        """Return what ``state`` is now, in the form of ``initial_state``."""
        network = state.network
        return state._replace(network=network.settled() if isinstance(network, ActingState) else network)

    def pack(self, state: LSNNState) -> Tensor:
        """Return a state as one tensor ``[B, (4 + D) N + R]``."""
        return torch.cat([state.network.pack(), state.readout], dim=1)

    def unpack(self, packed: Tensor) -> LSNNState:
        """Turn ``pack``'s tensor back into a state."""
        kept = self.readout.state_size
        network, readout = packed.split([packed.shape[1] - kept, kept], dim=1)
        return LSNNState(SpikingState.unpack(network, self.network.num_neurons), readout)

    def draw_noise(self, steps: int, batch_size: int, generator: torch.Generator) -> Tensor | None:
        """Return the network's noise for ``steps`` environment steps ``[T * S, B, N]``, or None."""
        return self.network.draw_noise(steps * self.steps_per_observation, batch_size, generator)

    def forward(
        self, inputs: Tensor, state: LSNNState, episode_start: Tensor, noise: Tensor | None
    ) -> tuple[CoreOutput, LSNNState]:
        """Run T environment steps (see ``RecurrentCore.forward``)."""
        # Most calls that act are in the midst of episodes.
        reset = self._reset_before_first_step(episode_start) if episode_start.any() else None
        spikes, network = self.network(inputs.flatten(0, 1), state.network, reset, noise)
        spikes, counts = counted(spikes)
        output, readout = self.read_out(spikes, state.readout, reset)
        return output._replace(counts=counts), LSNNState(network, readout)

    def read_out(
        self, spikes: Tensor, state: Tensor, reset: Tensor | None = None
    ) -> tuple[CoreOutput, Tensor]:
        """Do the readouts' part of ``forward``: from the state of their filters ``[B, R]`` on."""
        values, readout = self.readout.at_ends(spikes, state, reset, self.steps_per_observation)
        return CoreOutput(values, spikes), readout

    def _reset_before_first_step(self, episode_start: Tensor) -> Tensor:
        if self.steps_per_observation == 1:
            return episode_start
        later = torch.zeros_like(episode_start).repeat(self.steps_per_observation - 1, 1, 1)
        return torch.cat([episode_start[None], later]).transpose(0, 1).flatten(0, 1)


class GatedCore(RecurrentCore):
    """An LSTM or GRU with linear outputs: the non-spiking reference. An observation is one step to it.

    Args:
        cell: ``torch.nn.LSTMCell`` or ``torch.nn.GRUCell`` of I inputs and H units. Cells, because the fused
            sequence of ``torch.nn.LSTM`` rounds otherwise than its single steps, and stored log-probabilities
            would not come out again exactly.
        output_size: K.
    """

    def __init__(self, cell: nn.LSTMCell | nn.GRUCell, output_size: int) -> None:
        super().__init__()
        self.cell = cell
        self.readout: nn.Linear = nn.Linear(cell.hidden_size, output_size)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """Return the rest state: one tensor ``[B, H]`` of a GRU, two of an LSTM."""
        rest = self.readout.weight.new_zeros(batch_size, self.cell.hidden_size)
        return (rest, rest.clone()) if isinstance(self.cell, nn.LSTMCell) else (rest,)

    def pack(self, state: tuple[Tensor, ...]) -> Tensor:
        """Return a state as one tensor ``[B, H]`` or, of an LSTM, ``[B, 2 H]``."""
        return torch.cat(state, dim=1)

    def unpack(self, packed: Tensor) -> tuple[Tensor, ...]:
        """Turn ``pack``'s tensor back into a state."""
        return packed.split(self.cell.hidden_size, dim=1)

    def draw_noise(self, steps: int, batch_size: int, generator: torch.Generator) -> None:
        """Return None: there is no noise."""

    def forward(
        self, inputs: Tensor, state: tuple[Tensor, ...], episode_start: Tensor, noise: Tensor | None
    ) -> tuple[CoreOutput, tuple[Tensor, ...]]:
        """Run T environment steps (see ``RecurrentCore.forward``)."""
        outputs = []
        starts_at = episode_start.bool().any(dim=1).tolist()
        for t, observed in enumerate(inputs[:, 0].unbind()):
            if starts_at[t]:
                started = episode_start[t].bool()[:, None]
                state = tuple(torch.where(started, 0.0, each) for each in state)
            state = self._advance(observed, state)
            outputs.append(self.readout(state[0]))
        return CoreOutput(torch.stack(outputs), None), state

    def _advance(self, observed: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if isinstance(self.cell, nn.LSTMCell):
            return self.cell(observed, (state[0], state[1]))
        return (self.cell(observed, state[0]),)


class CoreSettings(Settings):
    """Which core, and what is its own (of ``forget_bias`` see :func:`lsnn_gym.gates.open_forget_gates_`)."""

    core: Literal["lsnn", "lstm", "gru"] = Field(default="lsnn", description="the recurrent network")
    hidden_size: int | None = Field(
        default=None,
        gt=0,
        description="units of an lstm or gru core; by default as many as there are neurons",
    )
    forget_bias: float = Field(
        default=0.0,
        description="added at first to the biases of an lstm core's forget gates; the logarithm of the steps to keep",
    )
    tau_readout: TimeConstant = Field(
        default=20.0, description="time constant of the leaky readouts in ms, or a range drawn from"
    )


def make_core(
    settings: CoreSettings,
    network: NetworkSettings,
    input_size: int,
    output_size: int,
    *,
    steps_per_observation: int,
    generator: torch.Generator,
) -> RecurrentCore:
    """Make a core with its initial weights.

    Args:
        settings: Of the core.
        network: Of the spiking network; an LSTM or GRU takes its size from it.
        input_size: I.
        output_size: K.
        steps_per_observation: Simulation steps an observation lasts; always one of an LSTM or GRU.
        generator: Source of the initial weights.
    """
    if settings.core == "lsnn":
        return LSNNCore(
            network,
            input_size,
            output_size,
            tau_readout=settings.tau_readout,
            steps_per_observation=steps_per_observation,
            generator=generator,
        )
    kind = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}[settings.core]
    # PyTorch's own initialisation takes no generator; fork so that the caller's draws stay its own.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        cell = kind(input_size, settings.hidden_size or network.num_neurons)
        if isinstance(cell, nn.LSTMCell):
            open_forget_gates_(cell, settings.forget_bias)
        return GatedCore(cell, output_size)
