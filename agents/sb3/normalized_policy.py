"""A policy that was trained with ``VecNormalize``, for observations as the environment has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Normalization:
    """What ``VecNormalize`` does to observations: ``clip((x - mean) / sqrt(variance + epsilon))``.

    Attributes:
        moments: Mean and variance by key of the observation; of observations that are no dictionaries under None.
        clip: Greatest magnitude of the result.
        epsilon: Added to the variance.
    """

    moments: Mapping[str | None, tuple[FloatArray, FloatArray]]
    clip: float
    epsilon: float

    @classmethod
    def of(cls, env: VecNormalize) -> Normalization | None:
        """Return what ``env`` does, None where it leaves observations alone."""
        if not env.norm_obs:
            return None
        known: Any = env.obs_rms
        by_key: dict[str | None, RunningMeanStd] = known if isinstance(known, dict) else {None: known}
        moments = {key: (each.mean.copy(), each.var.copy()) for key, each in by_key.items()}
        return cls(moments, float(env.clip_obs), float(env.epsilon))

    def settings(self) -> dict[str, Any]:
        """Return all that are no arrays."""
        return {"clip": self.clip, "epsilon": self.epsilon, "keys": list(self.moments)}

    def tensors(self) -> dict[str, Tensor]:
        """Return the arrays by name."""
        return {
            f"{index}.{name}": torch.from_numpy(np.ascontiguousarray(array))
            for index, moments in enumerate(self.moments.values())
            for name, array in zip(("mean", "variance"), moments, strict=True)
        }

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Normalization:
        """Return what ``settings`` and ``tensors`` were taken from.

        Raises:
            ValueError: Something is missing, or of another kind.
        """
        keys = settings.get("keys")
        if not isinstance(keys, list) or not all(key is None or isinstance(key, str) for key in keys):
            raise ValueError("expected 'keys', a list of names or null")
        for name in ("clip", "epsilon"):
            value = settings.get(name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 2**63:
                raise ValueError(f"expected {name!r}, a number from 0")
        expected = [f"{index}.{name}" for index in range(len(keys)) for name in ("mean", "variance")]
        for name in expected:
            if name not in tensors or not tensors[name].is_floating_point():
                raise ValueError(f"expected numbers {name!r} in the file of moments")
        moments = {
            key: (tensors[f"{index}.mean"].double().numpy(), tensors[f"{index}.variance"].double().numpy())
            for index, key in enumerate(keys)
        }
        return cls(moments, float(settings["clip"]), float(settings["epsilon"]))

    def check(self, space: spaces.Space[Any]) -> None:
        """Refuse moments that are not those of observations of ``space``.

        Raises:
            ValueError: A key or a shape is another.
        """
        parts: Any = space.spaces if isinstance(space, spaces.Dict) else {None: space}
        for key, (mean, variance) in self.moments.items():
            shape = None if key not in parts else parts[key].shape
            if mean.shape != shape or variance.shape != shape:
                raise ValueError(f"the moments of {key!r} are of shape {mean.shape}, expected {shape}")

    def apply(self, observation: Any) -> Any:
        """Return a normalised observation; keys without moments stay as they are."""
        if isinstance(observation, Mapping):
            return {
                key: self._applied(key, value) if key in self.moments else value
                for key, value in observation.items()
            }
        return self._applied(None, observation)

    def _applied(self, key: str | None, value: Any) -> npt.NDArray[np.float32]:
        mean, variance = self.moments[key]
        scaled = (np.asarray(value) - mean) / np.sqrt(variance + self.epsilon)
        return np.clip(scaled, -self.clip, self.clip).astype(np.float32)


class NormalizedPolicy:
    """A policy and the normalisation that its observations need; with the ``predict`` of a policy.

    Args:
        policy: For normalised observations.
        normalization: Of observations as the environment has them.
    """

    def __init__(self, policy: BasePolicy, normalization: Normalization) -> None:
        self.policy = policy
        self.normalization = normalization

    def predict(
        self,
        observation: Any,
        state: tuple[npt.NDArray[Any], ...] | None = None,
        episode_start: npt.NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[npt.NDArray[Any], tuple[npt.NDArray[Any], ...] | None]:
        """Return actions and states; see ``stable_baselines3.common.policies.BasePolicy.predict``."""
        normalized = self.normalization.apply(observation)
        return self.policy.predict(normalized, state, episode_start, deterministic)
