"""Spaces, values and schedules as plain JSON, and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gymnasium import spaces
from torch import nn

pytest.importorskip("sb3_contrib")
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule

from lsnn_gym.agents.sb3.plain_json import (
    SampledSchedule,
    decode,
    decode_schedule,
    decode_space,
    encode,
    encode_schedule,
    encode_space,
)
from lsnn_gym.errors import UserError


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (2, 3)),
        spaces.Box(np.array([-np.inf, 0.1]), np.array([1 / 3, np.inf]), dtype=np.float64),
        spaces.Box(0, 255, (4, 4, 3), np.uint8),
        spaces.Box(-(2**62), 2**62 + 1, (2,), np.int64),
        spaces.Discrete(4, start=-2),
        spaces.MultiDiscrete(np.array([[2, 3], [4, 5]])),
        spaces.MultiBinary([3, 2]),
        spaces.MultiBinary(3),
        spaces.Dict([("z", spaces.Discrete(2)), ("a", spaces.Dict(b=spaces.Box(0, 1, ())))]),
    ],
)
def test_spaces_come_out_again(space):
    told = json.loads(json.dumps(encode_space(space), allow_nan=False))
    again = decode_space(told)
    assert again == space
    if isinstance(space, spaces.Dict):
        assert list(again.spaces) == list(space.spaces)  # type: ignore[attr-defined]


def test_spaces_that_no_policy_takes_are_refused():
    with pytest.raises(UserError, match=r"the space is Text\(.*: expected one of Box, Discrete"):
        encode_space(spaces.Text(3))


def test_values_come_out_again():
    value = {
        "a": [1, (2.5, None, True)],
        "b": {"c": float("-inf"), "d": nn.Tanh},
        "e": "text",
        "f": np.float32(0.5),
    }
    told = json.loads(json.dumps(encode(value, "value"), allow_nan=False))
    again = decode(told)
    assert again == value
    assert isinstance(again["a"][1], tuple)
    with pytest.raises(UserError, match=r"value\[1\].x is <object"):
        encode([1, {"x": object()}], "value")
    with pytest.raises(UserError, match=r"value is {'\$x': 1}"):
        encode({"$x": 1}, "value")


@pytest.mark.parametrize(
    ("schedule", "kind"),
    [
        (FloatSchedule(0.25), "constant"),
        (FloatSchedule(LinearSchedule(1.0, 0.25, 0.5)), "linear"),
        (lambda left: 3 * left, "sampled"),
        (SampledSchedule([0.0, 2.0, 1.0]), "sampled"),
    ],
)
def test_schedules_come_out_again(schedule, kind):
    told = json.loads(json.dumps(encode_schedule(schedule)))
    assert told["kind"] == kind
    for left in (1.0, 0.9, 0.5, 0.31, 0.0):
        assert decode_schedule(told)(left) == pytest.approx(schedule(left), abs=1e-12)
