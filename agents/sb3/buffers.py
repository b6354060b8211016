"""Rollout buffers of ``SpikingRecurrentPPO``: sequences of one length, states only where they start."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar, cast

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.buffers import RecurrentDictRolloutBuffer, RecurrentRolloutBuffer
from sb3_contrib.common.recurrent.type_aliases import (
    RecurrentDictRolloutBufferSamples,
    RecurrentRolloutBufferSamples,
    RNNStates,
)
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from torch import Tensor

_BY_STEP = ("actions", "values", "log_probs", "advantages", "returns", "episode_starts")
"""What a sample holds of every step, besides the observation."""


class _Sequences:
    """What the buffers of plain and of dictionary observations share: see ``SequenceBuffer``."""

    plain: ClassVar[type[RolloutBuffer]]
    samples: ClassVar[Any]

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        sequence_length: int,
        state_size: int,
        critic_state: bool,
        **kwargs: Any,
    ) -> None:
        self.sequence_length = sequence_length
        self.critic_state = critic_state
        shape = (buffer_size // sequence_length, 1, kwargs["n_envs"], state_size)
        # The stock class makes four arrays of this shape; those that are never written take no memory.
        super().__init__(buffer_size, observation_space, action_space, shape, **kwargs)  # type: ignore[call-arg]

    def add(self, *args: Any, lstm_states: RNNStates, **kwargs: Any) -> None:
        """Add a step of all environments; keep the states before it if a sequence starts with it."""
        buffer = cast(Any, self)
        sequence, later = divmod(buffer.pos, self.sequence_length)
        if not later:
            buffer.hidden_states_pi[sequence] = lstm_states.pi[0].cpu().numpy()
            if self.critic_state:
                buffer.hidden_states_vf[sequence] = lstm_states.vf[0].cpu().numpy()
        self.plain.add(buffer, *args, **kwargs)

    def get(self, batch_size: int | None = None) -> Generator[Any, None, None]:
        """Yield all sequences in a random order, ``batch_size`` steps at a time (None: all at once)."""
        buffer = cast(Any, self)
        assert buffer.full, "the rollout buffer is not full yet"
        self._flatten()
        length, count = self.sequence_length, buffer.buffer_size // self.sequence_length * buffer.n_envs
        together = count if batch_size is None else max(1, batch_size // length)
        order = np.random.permutation(count)  # noqa: NPY002  the generator that Stable-Baselines3 seeds
        for start in range(0, count, together):
            yield self._sample(order[start : start + together])

    def _flatten(self) -> None:
        """Put the steps of an environment in a row, once a rollout."""
        buffer = cast(Any, self)
        if buffer.generator_ready:
            return
        if isinstance(buffer.observations, dict):
            buffer.observations = {
                key: buffer.swap_and_flatten(each) for key, each in buffer.observations.items()
            }
        else:
            buffer.observations = buffer.swap_and_flatten(buffer.observations)
        for name in _BY_STEP:
            setattr(buffer, name, buffer.swap_and_flatten(getattr(buffer, name)))
        buffer.generator_ready = True

    def _sample(self, sequences: np.ndarray) -> Any:
        """Return some sequences, by their numbers: those of the first environment come first."""
        buffer = cast(Any, self)
        environment, segment = np.divmod(sequences, buffer.buffer_size // self.sequence_length)
        steps = (sequences[:, None] * self.sequence_length + np.arange(self.sequence_length)).ravel()

        def states(kept: np.ndarray) -> tuple[Tensor, Tensor]:
            state = buffer.to_torch(kept[segment, 0, environment])[None]
            return state, state[..., :0]

        pi = states(buffer.hidden_states_pi)
        vf = states(buffer.hidden_states_vf) if self.critic_state else pi
        by_step = {name: buffer.to_torch(getattr(buffer, name)[steps]) for name in _BY_STEP}
        observations = buffer.observations
        return self.samples(
            observations={key: buffer.to_torch(each[steps]) for key, each in observations.items()}
            if isinstance(observations, dict)
            else buffer.to_torch(observations[steps]),
            actions=by_step["actions"],
            old_values=by_step["values"].flatten(),
            old_log_prob=by_step["log_probs"].flatten(),
            advantages=by_step["advantages"].flatten(),
            returns=by_step["returns"].flatten(),
            lstm_states=RNNStates(pi, vf),
            episode_starts=by_step["episode_starts"].flatten(),
            mask=torch.ones(len(steps), device=buffer.device),
        )


class SequenceBuffer(_Sequences, RecurrentRolloutBuffer):
    """A rollout cut into sequences of equal length.

    The stock buffer keeps four state tensors of every step and cuts sequences at episode starts, wherever they are,
    to pad them again. This one keeps the states before the first step of each sequence alone; episodes may start
    anywhere in a sequence, as spiking cores put their state to rest by themselves.

    Args:
        buffer_size: Steps of a rollout, of each environment.
        observation_space: Of one environment.
        action_space: Of one environment.
        sequence_length: Steps of a sequence, a divisor of ``buffer_size``.
        state_size: S, numbers of a core's state.
        critic_state: Whether the critic has a state of its own.
        kwargs: As for ``RolloutBuffer``; ``n_envs`` is needed.
    """

    plain: ClassVar[type[RolloutBuffer]] = RolloutBuffer
    samples: ClassVar[Any] = RecurrentRolloutBufferSamples


class DictSequenceBuffer(_Sequences, RecurrentDictRolloutBuffer):
    """``SequenceBuffer`` for observations that are dictionaries."""

    plain: ClassVar[type[RolloutBuffer]] = DictRolloutBuffer
    samples: ClassVar[Any] = RecurrentDictRolloutBufferSamples
