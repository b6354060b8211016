"""Recordings that are replayed: when they begin, how fast they are, what is left of them."""

from __future__ import annotations

import torch

from lsnn_gym.tasks.speech import replayed


def test_what_is_replayed_unmoved_at_its_own_speed_is_the_same():
    features = torch.randn(7, 3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(replayed(features, 0, 0.0, torch.Generator().manual_seed(1)), features)


def test_recordings_begin_earlier_or_later_each_by_a_draw_of_its_own():
    features = torch.arange(1.0, 8.0)[:, None, None].expand(7, 500, 1)
    found = replayed(features, 2, 0.0, torch.Generator().manual_seed(1))[..., 0].T.tolist()
    moved = {
        -2: [3, 4, 5, 6, 7, 0, 0],
        -1: [2, 3, 4, 5, 6, 7, 0],
        0: [1, 2, 3, 4, 5, 6, 7],
        1: [0, 1, 2, 3, 4, 5, 6],
        2: [0, 0, 1, 2, 3, 4, 5],
    }
    assert all(each in moved.values() for each in found)
    assert all(70 < found.count(each) < 130 for each in moved.values())


def test_recordings_are_played_faster_and_slower_as_often():
    features = torch.arange(1.0, 101.0)[:, None, None].expand(100, 2000, 1)
    found = replayed(features, 0, 0.25, torch.Generator().manual_seed(1))[..., 0]
    assert found.max() <= 100
    assert torch.equal(found[0], torch.ones(2000))  # all begin where they began
    speeds = (found[60] - 1) / 60
    assert 0.8 - 0.01 <= speeds.min() < 0.82
    assert 1.2 < speeds.max() <= 1.25 + 0.01
    assert abs(speeds.log().mean()) < 0.01
    # A fast one is over early; after it there is nothing.
    over = found[-1] == 0
    assert over[speeds > 1.03].all()
    assert not over[speeds < 0.98].any()
    assert 0.4 < over.double().mean() < 0.6
