"""Few-shot episodes."""

from __future__ import annotations

import numpy as np
import pytest

from lsnn_gym.data import sample_episodes
from lsnn_gym.errors import UserError

# Each image says its class and example: the first pixel and the second.
CLASSES, EXAMPLES = 9, 6
IMAGES = np.zeros((CLASSES, EXAMPLES, 2, 2), np.uint8)
IMAGES[..., 0, 0] = np.arange(CLASSES)[:, None]
IMAGES[..., 0, 1] = np.arange(EXAMPLES)


def _sample(seed: int = 0, **changed: int | bool):
    arguments = {"batch": 4, "ways": 5, "shots": 3, "queries": 2} | changed
    return sample_episodes(IMAGES, generator=np.random.default_rng(seed), **arguments)  # pyright: ignore


def test_shapes_and_types() -> None:
    episodes = _sample()
    assert episodes.images.shape == (25, 4, 2, 2)
    assert episodes.images.dtype == np.uint8
    for part in (episodes.labels, episodes.previous_labels, episodes.presentations):
        assert part.shape == (25, 4)
        assert part.dtype == np.int64
    assert episodes.classes.shape == (4, 5)


def test_images_belong_to_their_labels_and_no_example_comes_twice() -> None:
    episodes = _sample(batch=50)
    for lane in range(50):
        shown = episodes.images[:, lane, 0, 0]
        np.testing.assert_array_equal(shown, episodes.classes[lane][episodes.labels[:, lane]])
        assert len(set(episodes.classes[lane])) == 5
        pairs = set(zip(shown.tolist(), episodes.images[:, lane, 0, 1].tolist(), strict=True))
        assert len(pairs) == 25


def test_presentations_count_and_queries_come_last() -> None:
    episodes = _sample()
    for lane in range(4):
        seen = dict.fromkeys(range(5), 0)
        for label, presentation in zip(
            episodes.labels[:, lane], episodes.presentations[:, lane], strict=True
        ):
            seen[int(label)] += 1
            assert presentation == seen[int(label)]
        assert (episodes.presentations[:15, lane] <= 3).all()
        assert (episodes.presentations[15:, lane] > 3).all()


def test_labels_come_one_step_late() -> None:
    episodes = _sample()
    assert (episodes.previous_labels[0] == -1).all()
    np.testing.assert_array_equal(episodes.previous_labels[1:], episodes.labels[:-1])


def test_labels_orders_and_classes_are_left_to_chance() -> None:
    episodes = _sample(batch=3000, ways=3, shots=1, queries=0)
    # Each class has each label equally often, and each label each place: within five standard deviations.
    for label in range(3):
        counts = np.bincount(episodes.classes[:, label], minlength=CLASSES)
        assert abs(counts - 3000 / CLASSES).max() < 5 * np.sqrt(3000 / CLASSES)
        places = (episodes.labels == label).sum(axis=1)
        assert abs(places - 1000).max() < 5 * np.sqrt(1000)


def test_the_same_seed_gives_the_same_episodes() -> None:
    for one, two in zip(_sample(7, rotate=True), _sample(7, rotate=True), strict=True):
        np.testing.assert_array_equal(one, two)
    assert (_sample(7).classes != _sample(8).classes).any()


def test_a_class_is_turned_the_same_way_throughout_an_episode() -> None:
    episodes = _sample(batch=40, ways=2, rotate=True)
    turns_seen = set()
    for lane in range(40):
        for label in range(2):
            turns = set()
            for image in episodes.images[:, lane][episodes.labels[:, lane] == label]:
                # Classes and examples above 0 in the upper row; find the turn that puts it back.
                back = [
                    turn
                    for turn in range(4)
                    if any(
                        (np.rot90(image, -turn) == whole).all()
                        for whole in IMAGES[episodes.classes[lane, label]]
                    )
                ]
                if len(back) == 1:
                    turns.add(back[0])
            assert len(turns) <= 1
            turns_seen |= turns
    assert turns_seen == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch": 0}, "batch is 0, expected 1 or more"),
        ({"ways": 0}, "ways is 0, expected 1 or more"),
        ({"shots": 0}, "shots is 0, expected 1 or more"),
        ({"queries": -1}, "queries is -1, expected 0 or more"),
        ({"ways": 10}, "ways is 10, but there are only 9 classes"),
        ({"shots": 5}, r"shots \+ queries is 7, but each class has only 6 examples"),
    ],
)
def test_impossible_episodes_are_refused(changed: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _sample(**changed)


def test_images_of_another_shape_are_refused() -> None:
    with pytest.raises(UserError, match=r"images have the shape \(9, 6, 4\), expected \[classes, examples"):
        sample_episodes(IMAGES.reshape(9, 6, 4), batch=1, ways=1, shots=1, generator=np.random.default_rng(0))
