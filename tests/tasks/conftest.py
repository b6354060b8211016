from __future__ import annotations

import pytest

from lsnn_gym.tasks import environment
from lsnn_gym.tasks.environment import SupervisedEnv
from tests.tasks.supervised_envs import ByHand


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> SupervisedEnv:
    monkeypatch.setattr(environment, "make_task", lambda name: ByHand())
    return SupervisedEnv(task="by-hand")
