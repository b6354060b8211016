"""An environment of any spaces."""

from __future__ import annotations

import gymnasium as gym
from gymnasium import spaces


class Spaces(gym.Env):
    """Random observations of any space, episodes of 9 steps."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        observation_space.seed(0)

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.time += 1
        return self.observation_space.sample(), 1.0, False, self.time == 9, {}
