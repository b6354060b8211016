"""``SpikingRecurrentPPO``: ``RecurrentPPO`` for the spiking policies, with less memory and less time."""

from __future__ import annotations

from typing import Any, ClassVar

from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.policies import BasePolicy

from lsnn_gym.agents.sb3.buffers import DictSequenceBuffer, SequenceBuffer
from lsnn_gym.agents.sb3.policies import CnnLsnnPolicy, MlpLsnnPolicy, MultiInputLsnnPolicy

SEQUENCES = 8
"""That a minibatch holds unless told otherwise."""


class SpikingRecurrentPPO(RecurrentPPO):
    """``RecurrentPPO`` that trains on sequences of one length and keeps states only where these start.

    Nothing is padded, and episodes may start in the midst of a sequence, so that a minibatch is one pass through the
    network. Logs the firing rate and, of networks that are rewired, the number of connections.

    Args:
        policy: ``"MlpLsnnPolicy"``, ``"CnnLsnnPolicy"``, ``"MultiInputLsnnPolicy"`` or a class derived from one.
        env: As for ``RecurrentPPO``.
        sequence_length: Environment steps through which a gradient goes back, a divisor of ``n_steps``. By default
            its highest divisor of which ``batch_size`` holds eight: they are computed side by side, and a few long
            ones would be no faster than they. With ``batch_size=None`` it is ``n_steps``. A minibatch is as many
            sequences as ``batch_size`` holds.
        kwargs: All else that ``RecurrentPPO`` takes.

    Raises:
        TypeError: If the policy is not a spiking one.
        ValueError: If ``sequence_length`` does not divide ``n_steps``, or exceeds ``batch_size``.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        each.__name__: each for each in (MlpLsnnPolicy, CnnLsnnPolicy, MultiInputLsnnPolicy)
    }
    policy: MlpLsnnPolicy  # type: ignore[assignment]

    def __init__(
        self,
        policy: str | type[MlpLsnnPolicy],
        env: Any,
        *,
        sequence_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.sequence_length = sequence_length
        super().__init__(policy, env, **kwargs)

    def _setup_model(self) -> None:
        length = self._usable_length()
        super()._setup_model()
        if not isinstance(self.policy, MlpLsnnPolicy):
            raise TypeError(
                f"policy is a {type(self.policy).__name__}: expected {', '.join(self.policy_aliases)} or a class "
                "derived from one; RecurrentPPO takes the others"
            )
        self.policy.pads_sequences = False
        as_dict = isinstance(self.observation_space, spaces.Dict)
        buffer = DictSequenceBuffer if as_dict else SequenceBuffer
        self.rollout_buffer: DictSequenceBuffer | SequenceBuffer = buffer(
            self.n_steps,
            self.observation_space,
            self.action_space,
            sequence_length=length,
            state_size=self.policy.lstm_actor.hidden_size,
            critic_state=self.policy.lstm_critic is not None,
            device=self.device,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            n_envs=self.n_envs,
        )

    def _usable_length(self) -> int:
        """Return the sequences' length; see the class."""
        most = self.n_steps if self.batch_size is None else min(self.n_steps, self.batch_size)
        divisors = [each for each in range(1, most + 1) if self.n_steps % each == 0]
        if self.sequence_length is None:
            return max(
                each
                for each in divisors
                if self.batch_size is None or each <= max(1, self.batch_size // SEQUENCES)
            )
        if self.sequence_length in divisors:
            return self.sequence_length
        near = min(divisors, key=lambda each: abs(each - self.sequence_length))  # type: ignore[operator]
        raise ValueError(
            f"sequence_length is {self.sequence_length}: expected a divisor of n_steps, {self.n_steps}, that "
            f"batch_size, {self.batch_size}, holds; the nearest is {near}"
        )

    def train(self) -> None:
        """Update the policy with the rollout, as ``RecurrentPPO`` does, and log what spiking networks are about."""
        super().train()
        for name, value in self.policy.network_figures().items():
            self.logger.record(f"train/{name}", value)
