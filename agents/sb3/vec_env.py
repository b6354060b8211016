"""Any vectorised Gymnasium environment as one of Stable-Baselines3's, at its own speed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs

from lsnn_gym.agents.sb3.lane_infos import LaneInfo

_REMEDY = (
    "gymnasium.make_vec(env_id, num_envs, autoreset_mode=AutoresetMode.SAME_STEP) where env_id has a vectorised form "
    'that offers it, else gymnasium.make_vec(env_id, num_envs, vectorization_mode="sync", '
    'vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}), with gymnasium.vector.AutoresetMode'
)
_REASONS = {
    AutoresetMode.NEXT_STEP: "the step after an episode's end, whose action is ignored, would be learnt from",
    AutoresetMode.DISABLED: "nobody would begin the next episodes",
}


class GymnasiumVecEnv(VecEnv):
    """A vectorised Gymnasium environment, as the algorithms of Stable-Baselines3 take it.

    Observations, rewards and ends are handed on as arrays; a lane's info is put together when somebody looks into
    it. So a natively vectorised environment is not slowed down to the speed of one lane after the other. Returns
    are logged as usual with ``stable_baselines3.common.vec_env.VecMonitor`` around it.

    Where the environment is made of single ones (``SyncVectorEnv``, ``AsyncVectorEnv``), ``get_attr``, ``set_attr``
    and ``env_method`` speak to these; those in processes of their own can be set and called only all at once.
    Natively vectorised lanes share their attributes and have no methods each.

    Args:
        env: Vectorised, of autoreset mode ``SAME_STEP``; closed with the adapter.

    Raises:
        TypeError: If ``env`` is no ``gymnasium.vector.VectorEnv``.
        ValueError: If its autoreset mode is another; the message says why, and what to write instead.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        self.env: VectorEnv[Any, Any, Any] = _checked(env)
        self._actions: npt.NDArray[Any] | None = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    @property
    def spec(self) -> Any:
        """Return the environment's spec, or None."""
        return self.env.spec

    def reset(self) -> VecEnvObs:
        """Begin an episode in every lane, with the seeds and options set before; return observations ``[n, …]``."""
        options = self._options[0] or None
        seeds: Any = _joined(self._seeds)
        observations, infos = self.env.reset(seed=seeds, options=options)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos: list[dict[str, Any]] = [LaneInfo(infos, lane) for lane in range(self.num_envs)]
        return observations

    def set_options(self, options: list[dict[str, Any]] | dict[str, Any] | None = None) -> None:
        """Keep options for the next reset.

        Args:
            options: The same for all lanes, or equal ones in a list; an entry may be an array ``[n, …]`` where the
                environment takes one.

        Raises:
            ValueError: If they differ: a vectorised environment takes one dictionary for all lanes.
        """
        if isinstance(options, list):
            if len(options) != self.num_envs:
                raise ValueError(f"options must be a dict or {self.num_envs} of them, not {len(options)}")
            for lane, one in enumerate(options):
                if not data_equivalence(one, options[0], exact=True):
                    raise ValueError(
                        f"options of lane {lane} are {one!r}, those of lane 0 {options[0]!r}: a vectorised "
                        "Gymnasium environment takes the same options for all lanes"
                    )
        super().set_options(options)

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Keep ``actions`` ``[n, …]`` for ``step_wait``."""
        self._actions = actions

    def step_wait(self) -> tuple[VecEnvObs, npt.NDArray[Any], npt.NDArray[Any], list[dict[str, Any]]]:
        """Take the step; return observations ``[n, …]``, rewards ``[n]``, ends ``[n]`` and a list of infos."""
        if self._actions is None:
            raise RuntimeError("there are no actions to take a step with: call step_async before step_wait")
        observations, rewards, terminated, truncated, infos = self.env.step(self._actions)
        self._actions = None
        dones = np.logical_or(terminated, truncated)
        # Once for all lanes, as plain bools; most steps truncate none.
        cut_short = np.logical_and(truncated, np.logical_not(terminated)).tolist()
        lane_infos: list[dict[str, Any]] = [LaneInfo(infos, lane, cut) for lane, cut in enumerate(cut_short)]
        for lane in np.flatnonzero(dones).tolist():
            self.reset_infos[lane] = LaneInfo(infos, lane)
            lane_infos[lane] = LaneInfo.of_last_step(infos, lane, cut_short[lane])
        return observations, np.asarray(rewards, np.float32), dones, lane_infos

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_images(self) -> Sequence[npt.NDArray[np.uint8] | None]:
        """Return one frame ``[H, W, 3]`` a lane; None each without the render mode ``rgb_array``."""
        frames: Any = self.env.render()
        return [None] * self.num_envs if frames is None else list(frames)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of each lane's environment or, natively vectorised, of all lanes' one.

        Raises:
            AttributeError: If there is none.
        """
        lanes: Any = self.env.unwrapped
        if attr_name == "render_mode":  # asked for by the base class, of environments without one too
            values: Sequence[Any] = [self.env.render_mode] * self.num_envs
        elif hasattr(lanes, "get_attr"):
            values = lanes.get_attr(attr_name)
        else:
            values = [self._shared(attr_name)] * self.num_envs
        return [values[lane] for lane in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of each lane's environment or, natively vectorised, of all lanes' one.

        Raises:
            ValueError: If ``indices`` leave out some of lanes that can only be set all at once.
        """
        lanes: Any = self.env.unwrapped
        chosen = list(self._get_indices(indices))
        if hasattr(lanes, "envs"):
            for lane in chosen:
                lanes.envs[lane].set_wrapper_attr(attr_name, value)
            return
        self._check_all(chosen, f"set {attr_name!r}")
        if hasattr(lanes, "set_attr"):
            lanes.set_attr(attr_name, [value] * self.num_envs)
        else:
            setattr(lanes, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of each lane's environment; return what each gives back.

        Raises:
            AttributeError: If the lanes are natively vectorised, or there is no such method.
            ValueError: If ``indices`` leave out some of lanes that can only be called all at once.
        """
        lanes: Any = self.env.unwrapped
        chosen = list(self._get_indices(indices))
        if hasattr(lanes, "envs"):
            methods = [lanes.envs[lane].get_wrapper_attr(method_name) for lane in chosen]
            return [method(*method_args, **method_kwargs) for method in methods]
        if not hasattr(lanes, "call"):
            raise AttributeError(
                f"{type(lanes).__name__} has no environment of its own for each lane whose {method_name!r} could be "
                f"called: for a method of all lanes together call it on the adapter's env"
            )
        self._check_all(chosen, f"call {method_name!r}")
        return list(lanes.call(method_name, *method_args, **method_kwargs))

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """Return for each lane whether it is wrapped in ``wrapper_class``, of single or vectorised environments.

        Single environments in processes of their own cannot be looked at: of their wrappers it returns False.
        """
        chosen = list(self._get_indices(indices))
        around: Any = self.env
        while isinstance(around, VectorWrapper):
            if isinstance(around, wrapper_class):
                return [True] * len(chosen)
            around = around.env
        singles: Sequence[gym.Env[Any, Any]] = getattr(around, "envs", ())
        return [is_wrapped(singles[lane], wrapper_class) if singles else False for lane in chosen]

    def _shared(self, name: str) -> Any:
        """Return an attribute of the outermost of the vectorised environments that has one."""
        around: Any = self.env
        while isinstance(around, VectorWrapper) and not hasattr(around, name):
            around = around.env
        return getattr(around, name)

    def _check_all(self, chosen: Iterable[int], deed: str) -> None:
        if set(chosen) != set(range(self.num_envs)):
            raise ValueError(
                f"cannot {deed} in lanes {chosen} only: {type(self.env.unwrapped).__name__} has one for all "
                f"{self.num_envs} lanes; leave indices out"
            )


def _checked(env: Any) -> VectorEnv[Any, Any, Any]:
    if not isinstance(env, VectorEnv):
        raise TypeError(
            f"env must be a gymnasium.vector.VectorEnv, not {type(env).__name__}: make one by {_REMEDY}"
        )
    named = env.metadata.get("autoreset_mode")
    try:
        mode = AutoresetMode(named)
    except ValueError:
        raise ValueError(
            f"env.metadata['autoreset_mode'] is {named!r}: expected AutoresetMode.SAME_STEP, as in {_REMEDY}"
        ) from None
    if mode is not AutoresetMode.SAME_STEP:
        raise ValueError(
            f"the autoreset mode of {type(env.unwrapped).__name__} is {mode.name}, with which {_REASONS[mode]}: "
            f"expected SAME_STEP, as in {_REMEDY}"
        )
    return env


def _joined(seeds: Sequence[int | None]) -> int | list[int | None] | None:
    """Return seeds in the plainest form that a vectorised environment takes."""
    first = seeds[0]
    if all(seed is None for seed in seeds):
        return None
    if first is not None and list(seeds) == list(range(first, first + len(seeds))):
        return first  # every vectorised environment takes one number; lists are for Gymnasium's own and ours
    return list(seeds)
