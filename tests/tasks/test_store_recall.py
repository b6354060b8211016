"""Store-recall: its sequences pose the task, and are coded and scored as defined."""

from __future__ import annotations

import pytest
import torch

from lsnn_gym.errors import UserError
from lsnn_gym.tasks import store_recall
from lsnn_gym.tasks.registry import make_task
from lsnn_gym.tasks.task import IGNORED, Batch, Score, generator_for, score


def drawn(number: int, length: int = 12, mean_delay: float = 6.0, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [store_recall.draw_symbols(length, mean_delay, generator) for _ in range(number)]


@pytest.mark.parametrize(
    ("symbols", "valid"),
    [
        ([2, 0, 3], True),
        ([0, 2, 1, 1, 3, 0, 2, 0, 3], True),
        ([0, 1, 0], False),  # no command
        ([3, 2, 0, 3], False),  # a recall first
        ([2, 0, 3, 2, 1], False),  # a store last
        ([2, 0, 1], False),  # no recall
        ([2, 3, 1, 3], False),  # no bit with the store, two recalls
        ([2, 0, 2, 1, 3], False),  # two stores
        ([0, 0, 2], False),
    ],
)
def test_validity(symbols, valid):
    assert store_recall.is_valid(symbols) is valid


@pytest.mark.parametrize(("length", "mean_delay"), [(3, 1.0), (12, 6.0), (20, 2.0)])
def test_drawn_sequences_are_valid(length, mean_delay):
    sequences = drawn(50, length, mean_delay)
    assert all(store_recall.is_valid(each) and len(each) == length for each in sequences)
    assert sequences != drawn(50, length, mean_delay, seed=1)
    assert sequences == drawn(50, length, mean_delay)


def test_sequences_have_as_many_stores_as_the_authors():
    # Their generator gave 1.0995 on average over 2000 sequences; of as many the mean's standard error is 0.007.
    stores = [each.count(store_recall.STORE) for each in drawn(2000)]
    assert abs(sum(stores) / len(stores) - 1.0995) < 0.04


def test_a_recall_asks_for_the_bit_that_followed_the_last_store():
    symbols = torch.tensor([0, 2, 1, 0, 3, 1, 2, 0, 1, 3])[:, None]
    assert store_recall.recall_targets(symbols)[:, 0].tolist() == [0, 2, 1, 0, 1, 1, 2, 0, 1, 0]


def test_the_bit_is_shown_with_its_store_and_may_be_inverted_after_it():
    symbols = torch.tensor([0, 2, 1, 0, 3])[:, None]
    plain = [[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert store_recall.active_groups(symbols)[:, 0].int().tolist() == plain
    inverted = store_recall.active_groups(symbols, torch.ones(5, 1, dtype=torch.bool))[:, 0].int().tolist()
    assert inverted == [*plain[:2], [1, 0, 0, 0], *plain[3:]]


@pytest.mark.parametrize(("num_inputs", "sizes"), [(100, [25] * 4), (10, [3, 3, 2, 2])])
def test_groups_share_the_inputs(num_inputs, sizes):
    active = torch.eye(4, dtype=torch.bool)[:, None]
    probability = store_recall.spike_probabilities(active, num_inputs, 2)
    assert probability.shape == (8, 1, num_inputs)
    assert (probability[::2, 0] > 0).sum(dim=1).tolist() == sizes
    assert probability.unique().tolist() == pytest.approx([0, 0.05])


@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_batch_fires_at_its_rate_and_repeats_with_its_seed(dt):
    batch, again = (store_recall.draw_batch(16, torch.Generator().manual_seed(3), dt=dt) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(batch, again, strict=True))
    assert batch.spikes.shape == (2400, 16, 100)
    assert set(batch.spikes.unique().tolist()) == {0, 1 / dt}
    active = (store_recall.active_groups(batch.symbols).sum(2) > 0).all()
    assert active
    groups = store_recall.active_groups(batch.symbols).float().mean()
    # A Poisson count of about 50000 spikes: five standard deviations are 2.2 per cent.
    assert batch.spikes.mean().item() == pytest.approx(0.05 * groups.item(), rel=0.025)
    assert torch.equal(batch.is_recall, batch.symbols == 3)


def test_about_half_of_the_bits_after_a_store_are_inverted():
    batch = store_recall.draw_batch(200, torch.Generator().manual_seed(3), duration=40)
    counts = batch.spikes.unflatten(0, (12, 40)).sum(1)
    shown = (counts[..., 25:50].sum(2) > counts[..., :25].sum(2)).long()
    after = torch.zeros_like(batch.is_recall)
    after[1:] = batch.symbols[:-1] == store_recall.STORE
    inverted = (shown != batch.symbols)[after].double().mean().item()
    assert 0.35 < inverted < 0.65
    untouched = ~after & (batch.symbols < 2)
    assert (shown == batch.symbols)[untouched].double().mean() > 0.999


def test_only_recalls_are_scored():
    batch = store_recall.draw_batch(5, torch.Generator().manual_seed(0), num_inputs=4, duration=3)
    outputs = torch.zeros(36, 5, 2)
    answers = torch.nn.functional.one_hot(batch.targets % 2, 2).float().repeat_interleave(3, 0)
    right = torch.where(batch.is_recall.repeat_interleave(3, 0)[:, :, None], answers, outputs)
    assert store_recall.recall_error(right, batch) == 0
    assert store_recall.recall_error(-right, batch) == 1
    expected = torch.log1p(torch.exp(torch.tensor(-1.0)))
    torch.testing.assert_close(store_recall.recall_loss(right, batch), expected)
    torch.testing.assert_close(store_recall.recall_loss(outputs, batch), torch.tensor(2.0).log())


def test_what_does_not_fit_is_named():
    generator = torch.Generator()
    with pytest.raises(ValueError, match="length is 2"):
        store_recall.draw_symbols(2, 6.0, generator)
    with pytest.raises(ValueError, match="mean_delay is 0"):
        store_recall.draw_symbols(12, 0.0, generator)
    with pytest.raises(ValueError, match="num_inputs is 3: expected at least 4"):
        store_recall.spike_probabilities(torch.ones(1, 1, 4), 3, 1)


SMALL = {"num_inputs": 8, "length": 5, "mean_delay": 2.0, "duration": 3, "rate": 300.0}


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)


class TestTask:
    def test_it_is_judged_as_the_functions_judge(self):
        task = make_task("store-recall", **SMALL)
        assert (task.input_size, task.num_classes, task.figure) == (8, 2, "recall_error")
        batch = task.training_batch(7, 3, 5)
        drawn = store_recall.draw_batch(7, generator_for(5, "store-recall", 3), **SMALL)
        assert torch.equal(batch.inputs, drawn.spikes)
        assert batch.inputs.shape == (15, 7, 8)
        assert batch.groups is None
        for position in range(5):
            for lane in range(7):
                asked = drawn.symbols[position, lane] == store_recall.RECALL
                expected = drawn.targets[position, lane] if asked else IGNORED
                assert batch.targets[position, lane] == expected
        outputs = torch.randn(15, 7, 2, generator=torch.Generator().manual_seed(0))
        assert torch.equal(task.loss(outputs, batch), store_recall.recall_loss(outputs, drawn))
        found = task.figures(score(outputs, batch))
        assert found == {"recall_error": pytest.approx(store_recall.recall_error(outputs, drawn))}
        assert 0 < found["recall_error"] < 1
        assert task.figures({None: Score(3, 4)}) == {"recall_error": 0.25}

    def test_training_follows_from_seed_and_number(self):
        task, other = (make_task("store-recall", **SMALL) for _ in range(2))
        first = task.training_batch(6, 2, 7)
        assert same(first, other.training_batch(6, 2, 7))
        assert not same(first, task.training_batch(6, 3, 7))
        assert not same(first, task.training_batch(6, 2, 8))

    def test_splits_are_the_same_each_time_and_differ(self):
        task, other = (make_task("store-recall", **SMALL, evaluation_sequences=7) for _ in range(2))
        validation = list(task.batches("validation", 3))
        assert [batch.inputs.shape for batch in validation] == [(15, 3, 8), (15, 3, 8), (15, 1, 8)]
        assert all(map(same, validation, other.batches("validation", 3)))
        assert not same(validation[0], validation[1])
        assert not same(validation[0], next(iter(task.batches("test", 3))))
        assert not same(validation[0], task.training_batch(3, 0, 0))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"length": 2}, "task.length is 2, expected greater than or equal to 3"),
            ({"num_inputs": 3}, "task.num_inputs is 3, expected greater than or equal to 4"),
            ({"mean_delay": 0}, "task.mean_delay is 0, expected greater than 0"),
            (
                {"durations": 3},
                "unknown key 'task.durations': did you mean 'task.duration'? task has duration, "
                "evaluation_sequences, kind, length, mean_delay, num_inputs, rate",
            ),
        ],
    )
    def test_settings_of_no_use_are_named(self, options, message):
        with pytest.raises(UserError) as caught:
            make_task("store-recall", **options)
        assert str(caught.value) == message

    def test_a_misspelt_name_gets_the_nearest(self):
        with pytest.raises(UserError, match=r"^unknown task\.kind 'recall': did you mean 'store-recall'\? "):
            make_task("recall")
