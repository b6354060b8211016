"""Spiking policies for Stable-Baselines3: after this import ``sb3_contrib.RecurrentPPO`` takes them by name."""

from __future__ import annotations

try:
    from sb3_contrib import RecurrentPPO
except ImportError as _error:
    raise ImportError(f"{_error}: pip install 'lsnn-gym[sb3]'") from None

from lsnn_gym.agents.sb3.core import CoreSettings, SpikingCore
from lsnn_gym.agents.sb3.features import SpikingFeaturesExtractor
from lsnn_gym.agents.sb3.hub import export_policy, load_policy
from lsnn_gym.agents.sb3.policies import CnnLsnnPolicy, MlpLsnnPolicy, MultiInputLsnnPolicy
from lsnn_gym.agents.sb3.ppo import SpikingRecurrentPPO
from lsnn_gym.agents.sb3.vec_env import GymnasiumVecEnv

for _policy in (MlpLsnnPolicy, CnnLsnnPolicy, MultiInputLsnnPolicy):
    RecurrentPPO.policy_aliases[_policy.__name__] = _policy

__all__ = [
    "CnnLsnnPolicy",
    "CoreSettings",
    "GymnasiumVecEnv",
    "MlpLsnnPolicy",
    "MultiInputLsnnPolicy",
    "SpikingCore",
    "SpikingFeaturesExtractor",
    "SpikingRecurrentPPO",
    "export_policy",
    "load_policy",
]
