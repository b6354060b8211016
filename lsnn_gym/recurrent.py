"""``SpikingRNN``: the one recurrent module that everything else uses."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lsnn_gym.engine import Session, choose_engine, on_device
from lsnn_gym.network_settings import CellName, NetworkSettings
from lsnn_gym.neurons import NeuronParameters, SpikingState, TimeConstant, draw_population
from lsnn_gym.synapses import Synapses, stack_by_delay
from lsnn_gym.wiring import Wiring, draw_wiring, input_signs, recurrent_signs

__all__ = ["ActingState", "CellName", "NetworkSettings", "NetworkState", "SpikingRNN", "TimeConstant"]


class ActingState:
    """State of B networks that act, kept by the engine between steps; see ``SpikingRNN.acting_state``."""

    def __init__(self, begin: Callable[..., Session | None], weight: Tensor, session: Session) -> None:
        self._begin = begin
        self._weight = weight
        self._session = session

    @property
    def batch_size(self) -> int:
        """Return B."""
        return self._session.batch_size

    def run(
        self, weight: Tensor, inputs: Tensor, reset: Tensor | None, noise_current: Tensor | None
    ) -> Tensor:
        """Take T steps; arguments and spikes ``[T, B, N]`` are those of ``engine.reference.run``."""
        if torch.is_grad_enabled():
            raise RuntimeError(
                "a state of acting_state has no gradients: use initial_state, or torch.no_grad"
            )
        if weight is not self._weight:
            session = self._begin(weight, self._session.state())
            assert session is not None  # there was one for weights of the same kind
            self._weight, self._session = weight, session
        return self._session.run(inputs, reset, noise_current)

    def step(self, *addresses: int | None) -> None:
        """Take one step by the weights that the state was made with; see ``Session.step``."""
        self._session.step(*addresses)

    def pack(self) -> Tensor:
        """Return the state as ``SpikingState.pack`` does."""
        return self.settled().pack()

    def settled(self) -> SpikingState:
        """Return a copy of the state in tensors."""
        return self._session.state()


NetworkState = SpikingState | ActingState
"""What ``SpikingRNN.forward`` runs on from."""


class SpikingRNN(nn.Module):
    """A recurrent network of LIF and ALIF neurons (LSNN) with delayed synapses.

    The same module serves acting (one step, without gradient) and learning (whole sequences), and gives the
    same spikes in both.

    Args:
        settings: Sizes, constants and initialisation.
        input_size: I, number of input channels.
        generator: Source of every random choice; the same seed gives the same network.

    Attributes:
        neurons: The N neurons' constants.
        noise_std: Standard deviation of the noise current, a parameter where it is trained; None without noise.
        signs: Sign ``[N]`` of each neuron's synapses under Dale's law, also those of readouts; else None.

    Source: Bellec, Salaj, Subramoney, Legenstein, Maass: Long short-term memory and learning-to-learn in
    networks of spiking neurons, NIPS 2018. See ``engine.reference.step`` for the equations.
    """

    noise_std: Tensor | None

    def __init__(self, settings: NetworkSettings, input_size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.settings = settings
        self._model = settings.cell_model
        self._engine = choose_engine(settings.engine, self._model)
        self.input_size = input_size
        self.num_neurons: int = settings.num_neurons
        population = draw_population(
            num_regular=settings.regular_neurons,
            num_adaptive=settings.adaptive_neurons,
            tau_membrane=settings.tau_membrane,
            tau_adaptation=settings.tau_adaptation,
            threshold=settings.threshold,
            beta=settings.beta,
            refractory_period=settings.refractory_period,
            dt=settings.dt,
            generator=generator,
        )
        for name, values in population._asdict().items():
            self.register_buffer(name, values)
        self.signs: Tensor | None = self._neuron_signs()
        input_wiring, recurrent_wiring = self._draw_wirings(generator)
        self.input_synapses: Synapses = self._make_input_synapses(input_size, generator, input_wiring)
        self.recurrent_synapses: Synapses = Synapses(
            self.num_neurons,
            self.num_neurons,
            settings.delay,
            generator,
            autapses=False,
            scale=settings.recurrent_scale,
            wiring=recurrent_wiring,
        )
        noise_std = torch.tensor(settings.noise_std) if settings.noise_std else None
        if noise_std is not None and settings.train_noise:
            self.noise_std = nn.Parameter(noise_std)
        else:
            self.register_buffer("noise_std", noise_std)
        self._prepared: tuple[tuple[object, ...], Tensor] | None = None

    def _neuron_signs(self) -> Tensor | None:
        """Return the sign ``[N]`` of each neuron's synapses under Dale's law, else None."""
        wiring = self.settings.wiring
        return recurrent_signs(self.num_neurons, wiring.excitatory_share) if wiring.dale else None

    def _draw_wirings(self, generator: torch.Generator) -> tuple[Wiring | None, Wiring | None]:
        """Draw input and recurrent synapses with managed signs or connections; None for plain dense ones."""
        if not self.settings.wiring.managed:
            return None, None
        from_inputs = self._input_signs(self.input_size, generator)
        return (
            self._draw_wiring(self.input_size, from_inputs, generator),
            self._draw_wiring(self.num_neurons, self.signs, generator),
        )

    def _input_signs(self, input_size: int, generator: torch.Generator) -> Tensor | None:
        wiring = self.settings.wiring
        return input_signs(input_size, generator, wiring.excitatory_share) if wiring.dale else None

    def _draw_wiring(self, num_pre: int, pre_signs: Tensor | None, generator: torch.Generator) -> Wiring:
        shape = (self.num_neurons, num_pre)
        return draw_wiring(shape, self.settings.wiring.connectivity, generator, pre_signs=pre_signs)

    def _make_input_synapses(
        self, input_size: int, generator: torch.Generator, wiring: Wiring | None
    ) -> Synapses:
        settings = self.settings
        return Synapses(
            input_size,
            self.num_neurons,
            settings.delay,
            generator,
            scale=settings.input_scale,
            wiring=wiring,
        )

    def further_input_synapses(self, input_size: int, generator: torch.Generator) -> Synapses:
        """Return new synapses from ``input_size`` channels of another task, drawn as the network's own are.

        ``forward`` takes them; the caller trains and saves them.
        """
        wiring = None
        if self.settings.wiring.managed:
            signs = self._input_signs(input_size, generator)
            wiring = self._draw_wiring(input_size, signs, generator)
        return self._make_input_synapses(input_size, generator, wiring)

    @property
    def neurons(self) -> NeuronParameters:
        """Return the constants of the N neurons."""
        return NeuronParameters(*(getattr(self, name) for name in NeuronParameters._fields))

    def initial_state(self, batch_size: int) -> SpikingState:
        """Return ``batch_size`` networks at rest."""
        weight = self.input_synapses.weight
        delay = self.input_synapses.max_delay
        return SpikingState.zeros(batch_size, self.num_neurons, delay, weight.dtype, weight.device)

    def acting_state(self, batch_size: int) -> NetworkState:
        """Return ``batch_size`` networks at rest in the form that is quickest to step through, without gradients.

        ``forward`` changes it in place where that is quicker.
        """
        state = self.initial_state(batch_size)
        begin = partial(
            self._engine.begin,
            self.neurons,
            dt=self.settings.dt,
            dampening_factor=self.settings.dampening_factor,
            model=self._model,
        )
        with torch.no_grad():
            weight = self._stacked_weight(self.input_synapses)
        session = begin(weight, state)
        return state if session is None else ActingState(begin, weight, session)

    def draw_noise(self, steps: int, batch_size: int, generator: torch.Generator) -> Tensor | None:
        """Return standard normal draws ``[T, B, N]`` for ``forward``, or None for a network without noise.

        They are drawn apart from the forward pass because they belong to a trajectory: the same draws and
        parameters give the same spikes again.
        """
        if self.noise_std is None:
            return None
        weight = self.input_synapses.weight
        shape = (steps, batch_size, self.num_neurons)
        return torch.randn(shape, generator=generator, dtype=weight.dtype, device=generator.device)

    def noise_current(self, noise: Tensor | None) -> Tensor | None:
        """Return the current that draws of ``draw_noise`` stand for; None for no noise."""
        return None if noise is None or self.noise_std is None else self.noise_std * noise

    def forward(
        self,
        inputs: Tensor,
        state: NetworkState,
        reset: Tensor | None = None,
        noise: Tensor | None = None,
        *,
        input_synapses: Synapses | None = None,
    ) -> tuple[Tensor, Any]:
        """Run B networks through T simulation steps.

        Args:
            inputs: ``[T, B, I]``: spikes (0 or 1/dt), rates or currents.
            state: Before the first step; one of ``acting_state`` changes in place.
            reset: ``[T, B]``, non-zero where a network starts anew before that step; None for nowhere.
            noise: Standard normal draws ``[T, B, N]`` from ``draw_noise``; None for no noise.
            input_synapses: By which ``inputs`` reach the neurons, where another task shares the network; of the
                network's own highest delay. None for the network's own.

        Returns:
            Spikes ``[T, B, N]`` (0 or 1/dt) and the state after the last step, of the kind that was given.

        Raises:
            ValueError: If a shape does not fit.
            RuntimeError: If ``state`` is one of ``acting_state`` and gradients are recorded.
        """
        entry = self.input_synapses if input_synapses is None else input_synapses
        self._check_shapes(inputs, state, reset, noise, entry.weight.shape[1])
        current = self.noise_current(noise)
        weight = self._stacked_weight(entry)
        if isinstance(state, ActingState):
            return state.run(weight, inputs, reset, current), state
        if not (self.settings.checkpointing and torch.is_grad_enabled()):
            return self._run(weight, inputs, state, reset, current, entry)
        length = math.isqrt(len(inputs) - 1) + 1
        parts = []
        for start in range(0, len(inputs), length):
            part = slice(start, start + length)
            spikes, state = checkpoint(
                self._run,
                weight,
                inputs[part],
                state,
                None if reset is None else reset[part],
                None if current is None else current[part],
                entry,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            parts.append(spikes)
        return torch.cat(parts), state

    def _run(
        self,
        weight: Tensor,
        inputs: Tensor,
        state: SpikingState,
        reset: Tensor | None,
        current: Tensor | None,
        entry: Synapses,
    ) -> tuple[Tensor, SpikingState]:
        return on_device(self._engine, weight.device, self._model).run(
            self.neurons,
            weight,
            inputs,
            state,
            reset,
            current,
            dt=self.settings.dt,
            dampening_factor=self.settings.dampening_factor,
            model=self._model,
            delay_index=self._delay_index(entry),
        )

    def _check_shapes(
        self,
        inputs: Tensor,
        state: NetworkState,
        reset: Tensor | None,
        noise: Tensor | None,
        input_size: int,
    ) -> None:
        if inputs.dim() != 3 or inputs.shape[2] != input_size or len(inputs) == 0:
            raise ValueError(f"inputs are {tuple(inputs.shape)}: expected [T > 0, B, {input_size}]")
        steps, batch_size, _ = inputs.shape
        if isinstance(state, ActingState):
            voltage = None
            if state.batch_size != batch_size:
                raise ValueError(
                    f"state is of {state.batch_size} networks: expected {batch_size} as inputs are "
                    f"{tuple(inputs.shape)}"
                )
        else:
            voltage = state.voltage
        expected = {
            "state.voltage": (voltage, (batch_size, self.num_neurons)),
            "reset": (reset, (steps, batch_size)),
            "noise": (noise, (steps, batch_size, self.num_neurons)),
        }
        for name, (tensor, shape) in expected.items():
            if tensor is not None and tensor.shape != shape:
                raise ValueError(
                    f"{name} is {tuple(tensor.shape)}: expected {shape} as inputs are {tuple(inputs.shape)}"
                )

    def _stacked_weight(self, entry: Synapses) -> Tensor:
        """Return all weights side by side and sorted by delay, kept while they do not change (for acting)."""
        weights = (entry.weight, self.recurrent_synapses.weight)
        if torch.is_grad_enabled():
            return self._stack(entry)
        key = tuple(item for weight in weights for item in (weight.data_ptr(), weight._version))
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = (key, self._stack(entry))
        return self._prepared[1]

    def _delay_index(self, entry: Synapses) -> Tensor | None:
        """Return the delay of each weight ``[N, I + N]``; None if there is but one."""
        if entry.max_delay == 1 or not torch.is_grad_enabled():
            return None
        return torch.cat([entry.delay_index, self.recurrent_synapses.delay_index], dim=1)

    def _stack(self, entry: Synapses) -> Tensor:
        return torch.cat(
            [
                stack_by_delay(each.effective_weight(), each.delay_index, each.max_delay)
                for each in (entry, self.recurrent_synapses)
            ],
            dim=1,
        )
