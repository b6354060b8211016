"""Policies for ``sb3_contrib.RecurrentPPO`` with spiking networks where the stock ones have LSTMs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor

from lsnn_gym.agents.sb3.core import CoreSettings, SpikingCore
from lsnn_gym.training.optimization import connections, wired


class MlpLsnnPolicy(RecurrentActorCriticPolicy):
    """Actor and critic with spiking networks; to be used as ``MlpLstmPolicy`` is.

    Args:
        observation_space: Any that the stock policy takes.
        action_space: Any that the stock policy takes.
        lr_schedule: Learning rate.
        lstm_hidden_size: Neurons of a network.
        n_lstm_layers: Networks one above the other.
        shared_lstm: Whether actor and critic share one core; its ``joint_critic`` says whether both train it.
        enable_critic_lstm: Whether the critic has a core of its own.
        lsnn_kwargs: See ``CoreSettings``.
        kwargs: Further arguments of the stock policy; not ``lstm_kwargs``.

    Raises:
        TypeError: If ``lstm_kwargs`` is given.
        ValueError: If ``lsnn_kwargs`` does not fit ``CoreSettings``, naming it.
    """

    lstm_actor: SpikingCore
    lstm_critic: SpikingCore | None
    usual_features_extractor: ClassVar[type[BaseFeaturesExtractor]] = FlattenExtractor
    pads_sequences: bool = True
    """Whether what ``evaluate_actions`` gets may be padded, as that of the stock buffer is."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        lstm_hidden_size: int = 256,
        n_lstm_layers: int = 1,
        shared_lstm: bool = False,
        enable_critic_lstm: bool = True,
        lsnn_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("lstm_kwargs"):
            raise TypeError(
                f"lstm_kwargs is {kwargs['lstm_kwargs']}: a spiking network takes lsnn_kwargs instead"
            )
        kwargs.setdefault("features_extractor_class", self.usual_features_extractor)
        settings = CoreSettings(**(lsnn_kwargs or {}))
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            lstm_hidden_size=lstm_hidden_size,
            n_lstm_layers=1,
            shared_lstm=shared_lstm,
            enable_critic_lstm=enable_critic_lstm,
            **kwargs,
        )
        self.n_lstm_layers = n_lstm_layers
        self.lsnn_kwargs: dict[str, Any] = dict(lsnn_kwargs or {})
        self.joint: bool = shared_lstm and settings.joint_critic
        sizes = (self.features_dim, lstm_hidden_size, n_lstm_layers, settings)
        self.lstm_actor = SpikingCore(*sizes).to(self.device)
        if enable_critic_lstm:
            self.lstm_critic = SpikingCore(*sizes).to(self.device)
        self.lstm_hidden_state_shape: tuple[int, int, int] = (1, 1, self.lstm_actor.hidden_size)
        # The stock one holds the parameters of the LSTMs that were here.
        self.optimizer: torch.optim.Optimizer = wired(
            self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs),  # type: ignore[call-arg]
            [matrix for core in self.cores() for matrix in core.wired_matrices()],
            settings.wiring.kind,
            int(torch.randint(2**62, ())),
        )

    @property
    def features_dim(self) -> int:  # type: ignore[override]
        """Return the number of features. Of multi-discrete observations it is set as a NumPy integer."""
        return self._features_dim

    @features_dim.setter
    def features_dim(self, value: Any) -> None:
        self._features_dim = int(value)

    def cores(self) -> list[SpikingCore]:
        """Return the actor's core and, if it has one, the critic's."""
        return [core for core in (self.lstm_actor, self.lstm_critic) if core is not None]

    def network_figures(self) -> dict[str, float]:
        """Return, for logs, the firing rate when last trained and, if it is managed, the number of connections."""
        rates = torch.cat([core.rates_hz for core in self.cores()])
        return {"firing_rate_hz": float(rates.mean()), **connections(self.optimizer)}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "lstm_hidden_size": self.lstm_output_dim,
            "n_lstm_layers": self.n_lstm_layers,
            "shared_lstm": self.shared_lstm,
            "enable_critic_lstm": self.enable_critic_lstm,
            "lsnn_kwargs": self.lsnn_kwargs,
        }

    @staticmethod
    def _process_sequence(  # type: ignore[override]
        features: Any, lstm_states: Any, episode_starts: Tensor, lstm: Any, counted: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run a core over sequences; of the two state tensors of an LSTM it uses the first."""
        state, unused = lstm_states
        sequences = state.shape[1]
        by_step = features.reshape(sequences, -1, lstm.input_size).swapaxes(0, 1)
        starts = episode_starts.reshape(sequences, -1).swapaxes(0, 1)
        outputs, after = lstm(by_step, state[0], starts, None if counted is None else counted.swapaxes(0, 1))
        return outputs.swapaxes(0, 1).flatten(0, 1), (after[None], unused)

    def _latents(
        self, obs: Any, lstm_states: RNNStates, episode_starts: Tensor, counted: Tensor | None = None
    ) -> tuple[Tensor, Tensor, RNNStates]:
        """Return what the heads of actor and critic get, and the states after."""
        features = self.extract_features(obs)
        pi_features, vf_features = (features, features) if self.share_features_extractor else features
        latent_pi, pi = self._process_sequence(
            pi_features, lstm_states.pi, episode_starts, self.lstm_actor, counted
        )
        if self.lstm_critic is not None:
            latent_vf, vf = self._process_sequence(
                vf_features, lstm_states.vf, episode_starts, self.lstm_critic, counted
            )
        elif self.shared_lstm:
            latent_vf, vf = self._for_critic(latent_pi), pi
        else:
            assert self.critic is not None
            latent_vf, vf = self.critic(vf_features), pi
        return (
            self.mlp_extractor.forward_actor(latent_pi),
            self.mlp_extractor.forward_critic(latent_vf),
            RNNStates(pi, vf),
        )

    def _for_critic(self, latent_pi: Tensor) -> Tensor:
        return latent_pi if self.joint else latent_pi.detach()

    def forward(
        self, obs: Any, lstm_states: RNNStates, episode_starts: Tensor, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, RNNStates]:
        """Return actions, values, log-probabilities and states; see the stock policy."""
        latent_pi, latent_vf, states = self._latents(obs, lstm_states, episode_starts)
        distribution = self._get_action_dist_from_latent(latent_pi)
        actions = distribution.get_actions(deterministic=deterministic)
        log_prob = distribution.log_prob(actions)
        shape = (-1, *(self.action_space.shape or ()))
        return actions.reshape(shape), self.value_net(latent_vf), log_prob, states

    def evaluate_actions(
        self, obs: Any, actions: Tensor, lstm_states: RNNStates, episode_starts: Tensor
    ) -> tuple[Tensor, Tensor, Any]:
        """Return values, log-probabilities of ``actions`` and entropies; see the stock policy."""
        if isinstance(self.action_space, spaces.MultiBinary):
            actions = actions.float()  # buffers keep them as int8, of which there is no likelihood
        counted = _not_padding(obs, actions, lstm_states.pi[0].shape[1]) if self.pads_sequences else None
        latent_pi, latent_vf, _ = self._latents(obs, lstm_states, episode_starts, counted)
        distribution = self._get_action_dist_from_latent(latent_pi)
        return self.value_net(latent_vf), distribution.log_prob(actions), distribution.entropy()


def _not_padding(obs: Any, actions: Tensor, sequences: int) -> Tensor:
    """Return where steps count ``[sequences, T]``, given observations and actions of all steps, sequence by sequence.

    The stock buffer pads the end of its sequences with zeros and does not tell the policy where. So the steps at a
    sequence's end whose observation and action are 0 throughout do not count, its first step always does.
    """
    parts = [*(obs.values() if isinstance(obs, dict) else [obs]), actions]
    used = torch.stack([each.reshape(len(each), -1).ne(0).any(dim=1) for each in parts]).any(dim=0)
    used = used.reshape(sequences, -1)
    used[:, 0] = True
    later = used.flip(1).cummax(dim=1).values
    return later.flip(1)


class CnnLsnnPolicy(MlpLsnnPolicy):
    """``MlpLsnnPolicy`` behind a convolutional network, for images."""

    usual_features_extractor: ClassVar[type[BaseFeaturesExtractor]] = NatureCNN


class MultiInputLsnnPolicy(MlpLsnnPolicy):
    """``MlpLsnnPolicy`` for observations that are dictionaries, images among them or not."""

    usual_features_extractor: ClassVar[type[BaseFeaturesExtractor]] = CombinedExtractor
