"""Speech tasks: phones of each frame in a corpus of noise in TIMIT's layout, and spoken digits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lsnn_gym.data import SpokenDigitRecordings, Utterance, fsdd, mfcc, timit
from lsnn_gym.data.phones import PHONES_61
from lsnn_gym.errors import UserError
from lsnn_gym.tasks import speech
from lsnn_gym.tasks.registry import make_task
from lsnn_gym.tasks.speech import (
    FramewisePhonesSettings,
    FramewisePhonesTask,
    SpokenDigitsSettings,
    SpokenDigitsTask,
    Standardisation,
    padded,
)
from lsnn_gym.tasks.task import IGNORED, Batch, Score, score
from tests.data.made_files import mini_timit

pytest.importorskip("kaldi_native_fbank", reason="kaldi-native-fbank is not installed")

PARTS = {"train": "train", "validation": "dev", "test": "core-test"}


def refusal(task: str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        make_task(task, **options)
    return str(caught.value)


def test_sequences_are_cut_or_filled_up_at_their_ends():
    sequences = [np.array([[1, 2], [3, 4], [5, 6]]), np.array([[7, 8]])]
    assert padded(sequences, 2, 0).tolist() == [[[1, 2], [7, 8]], [[3, 4], [0, 0]]]
    labels = padded([each[:, 0] for each in sequences], 3, IGNORED)
    assert labels.tolist() == [[1, 7], [3, IGNORED], [5, IGNORED]]
    assert labels.dtype == torch.int64


def test_standardisation_is_over_all_frames():
    scale = Standardisation.of([np.array([[0.0, 5.0], [2.0, 5.0]]), np.array([[4.0, 5.0]])])
    assert scale.mean.tolist() == [2, 5]
    np.testing.assert_allclose(scale.std, [np.sqrt(8 / 3), 0], atol=2e-6)
    applied = scale.apply(np.array([[2 + np.sqrt(8 / 3), 5.0]]))
    np.testing.assert_allclose(applied, [[1, 0]], atol=1e-5)  # a constant feature is 0, not NaN
    assert applied.dtype == np.float32


class TestFramewisePhones:
    @pytest.fixture(scope="class")
    @staticmethod
    def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
        root = tmp_path_factory.mktemp("corpus")
        mini_timit(root, [phone for phone in PHONES_61 if phone != "h#"])
        return root

    @pytest.fixture(scope="class")
    @staticmethod
    def corpus(root: Path) -> dict[str, tuple[Utterance, ...]]:
        return {
            split: timit(root, part, complete=False).utterances  # pyright: ignore[reportArgumentType]
            for split, part in PARTS.items()
        }

    def made(self, root: Path, **changed: Any) -> FramewisePhonesTask:
        return FramewisePhonesTask(FramewisePhonesSettings(root=str(root), complete=False, **changed))

    def standardised(self, corpus: dict[str, tuple[Utterance, ...]], split: str) -> list[np.ndarray]:
        """Return each utterance of a split, less the mean of the training part, in its deviations."""
        frames = np.concatenate([each.features for each in corpus["train"]]).astype(np.float64)
        mean, deviation = frames.mean(axis=0), frames.std(axis=0)
        return [(each.features - mean) / deviation for each in corpus[split]]

    def check_lanes(self, batch: Batch, features: list[np.ndarray], labels: list[np.ndarray], repeats: int):
        """Compare each lane with an utterance: shown frame by frame, then nothing, and nothing asked."""
        longest = max(map(len, labels))
        assert batch.inputs.shape == (longest * repeats, len(labels), 39)
        assert batch.inputs.dtype == torch.float32
        assert batch.targets.shape == (longest, len(labels))
        assert batch.groups is None
        for lane, (shown, named) in enumerate(zip(features, labels, strict=True)):
            own = batch.inputs[: len(named) * repeats, lane].numpy()
            np.testing.assert_allclose(own, np.repeat(shown, repeats, axis=0), atol=1e-3)
            assert not batch.inputs[len(named) * repeats :, lane].any()
            assert batch.targets[: len(named), lane].tolist() == named.tolist()
            assert (batch.targets[len(named) :, lane] == IGNORED).all()

    @pytest.mark.parametrize(("split", "sizes"), [("validation", [2, 1]), ("test", [2, 2, 2])])
    def test_splits_are_shown_in_order_padded_to_the_longest(self, root, corpus, split, sizes):
        features = self.standardised(corpus, split)
        labels = [each.labels for each in corpus[split]]
        batches = list(self.made(root, repeats=3).batches(split, 2))
        assert [batch.targets.shape[1] for batch in batches] == sizes
        assert len({len(each) for each in labels}) > 1
        for number, batch in enumerate(batches):
            part = slice(2 * number, 2 * number + 2)
            self.check_lanes(batch, features[part], labels[part], 3)

    def test_a_pass_of_training_shows_each_utterance_once(self, root, corpus):
        task = self.made(root, repeats=1)
        batch = task.training_batch(9, 0, 4)
        features, labels = self.standardised(corpus, "train"), [each.labels for each in corpus["train"]]
        named = [padded([each], max(map(len, labels)), IGNORED)[:, 0].tolist() for each in labels]
        order = [named.index(batch.targets[:, lane].tolist()) for lane in range(9)]
        assert sorted(order) == list(range(9))
        assert order != list(range(9))
        self.check_lanes(batch, [features[each] for each in order], [labels[each] for each in order], 1)

    def test_training_follows_from_seed_and_number(self, root):
        one, other = self.made(root), self.made(root)
        first = one.training_batch(3, 1, 0)
        other.training_batch(3, 0, 0)
        assert torch.equal(first.inputs, other.training_batch(3, 1, 0).inputs)
        assert first.inputs.shape != one.training_batch(3, 2, 0).inputs.shape
        assert first.inputs.shape != one.training_batch(3, 1, 1).inputs.shape

    def test_training_features_have_mean_0_and_deviation_1_whichever_split_is_read_first(self, root):
        fresh, other = self.made(root, repeats=1), self.made(root, repeats=1)
        test = next(iter(fresh.batches("test", 6)))
        batch = fresh.training_batch(9, 0, 0)
        frames = batch.inputs[batch.inputs.any(dim=2)].double()
        assert frames.mean(dim=0).abs().max() < 1e-4
        assert (frames.std(dim=0, correction=0) - 1).abs().max() < 1e-3
        other.training_batch(1, 0, 0)
        assert torch.equal(test.inputs, next(iter(other.batches("test", 6))).inputs)
        others = test.inputs[test.inputs.any(dim=2)]
        assert others.mean(dim=0).abs().max() > 1e-3

    def test_padding_and_unlabelled_frames_are_not_judged(self, root):
        task = self.made(root, repeats=2)
        (batch,) = task.batches("validation", 3)
        outputs = torch.randn(len(batch.inputs), 3, 61, generator=torch.Generator().manual_seed(0))
        other = outputs.clone()
        other[(batch.targets == IGNORED).repeat_interleave(2, dim=0)] = 100.0
        assert not torch.equal(outputs, other)
        assert task.loss(outputs, batch) == task.loss(other, batch)
        assert score(outputs, batch) == score(other, batch)
        assert score(outputs, batch)[None].asked == int((batch.targets != IGNORED).sum())

    def test_the_figure_is_the_share_of_wrong_frames(self, root):
        assert self.made(root).figures({None: Score(3, 4)}) == {"frame_error": 0.25}

    @pytest.mark.parametrize("classes", [61, 48, 39])
    def test_phones_may_be_folded(self, root, classes):
        task = self.made(root, classes=classes)
        assert task.num_classes == classes
        every = task.training_batch(9, 0, 0).targets
        expected = timit(root, "train", classes=classes, complete=False).utterances
        known = np.concatenate([each.labels for each in expected])
        assert sorted(every[every != IGNORED].tolist()) == sorted(known[known != IGNORED].tolist())

    def test_the_glottal_stop_may_be_left_out(self, root):
        def asked(glottal_stop: Any) -> int:
            targets = self.made(root, classes=39, glottal_stop=glottal_stop).training_batch(9, 0, 0).targets
            return int((targets != IGNORED).sum())

        assert asked("unlabelled") < asked("silence")

    def test_a_part_of_the_corpus_is_refused_unless_asked_for(self, root):
        task = make_task("framewise-phones", root=str(root))
        with pytest.raises(UserError, match="expected 3,696 utterances in 'train', found 9: not the whole"):
            task.training_batch(1, 0, 0)

    def test_settings_of_no_use_are_named(self):
        assert refusal("framewise-phones", classes=40) == ("task.classes is 40, expected 61, 48 or 39")
        assert refusal("framewise-phones", glottal_stop="silent") == (
            "unknown task.glottal_stop 'silent': did you mean 'silence'? there is silence, unlabelled"
        )
        assert refusal("framewise-phones", clases=39).startswith(
            "unknown key 'task.clases': did you mean 'task.classes'? task has classes, complete, "
        )


def made_up_recordings(split: str) -> SpokenDigitRecordings:
    """Return noise of 0.2 s and more: two speakers, three digits, four takes of each for training, one to test."""
    names = [
        (digit, speaker, take)
        for digit in (0, 4, 9)
        for speaker in ("ann", "bob")
        for take in range(4 if split == "train" else 1)
    ]
    generator = np.random.default_rng(len(names))
    waveforms = [
        generator.normal(0, 300 * (1 + number), size=1600 + 160 * number).astype(np.int16)
        for number in range(len(names))
    ]
    labels = np.array([digit for digit, _, _ in names])
    return SpokenDigitRecordings(tuple(waveforms), labels, tuple(speaker for _, speaker, _ in names))


class TestMadeUpDigits:
    SMALL: dict[str, Any] = {"frames": 30, "repeats": 3, "validation_takes": 1}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def _made_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(speech, "fsdd", made_up_recordings)

    def made(self, **changed: Any) -> SpokenDigitsTask:
        return SpokenDigitsTask(SpokenDigitsSettings(**{**self.SMALL, **changed}))

    def known(self, coefficients: int = 13) -> dict[str, tuple[list[np.ndarray], list[int]]]:
        """Return standardised features and labels of each split, the first take of four being validation."""
        train, test = (
            (
                [mfcc(each, 8000, coefficients, 0) for each in part.waveforms],
                part.labels.tolist(),
            )
            for part in map(made_up_recordings, ("train", "test"))
        )
        trained = [number for number in range(24) if number % 4]
        frames = np.concatenate([train[0][number] for number in trained]).astype(np.float64)
        chosen = {
            "train": [(train[0][number], train[1][number]) for number in trained],
            "validation": [(train[0][number], train[1][number]) for number in range(0, 24, 4)],
            "test": list(zip(*test, strict=True)),
        }
        return {
            split: (
                [(each - frames.mean(axis=0)) / frames.std(axis=0) for each, _ in part],
                [label for _, label in part],
            )
            for split, part in chosen.items()
        }

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_currents_are_standardised_frames_cut_or_followed_by_zeros(self, split):
        task = self.made(coding="currents", coefficients=7)
        assert (task.input_size, task.num_classes) == (7, 10)
        first, second = task.batches(split, 4)
        features, labels = self.known(7)[split]
        lengths = [len(each) for each in features]
        assert split == "test" or min(lengths) < 30 < max(lengths)
        assert [first.inputs.shape, second.inputs.shape] == [(90, 4, 7), (90, 2, 7)]
        assert torch.cat([first.targets, second.targets], dim=1).tolist() == [labels]
        inputs = torch.cat([first.inputs, second.inputs], dim=1)
        assert inputs.dtype == torch.float32
        for lane, shown in enumerate(features):
            expected = np.zeros((30, 7))
            expected[: len(shown)] = shown[:30]
            np.testing.assert_allclose(inputs[:, lane], np.repeat(expected, 3, axis=0), atol=1e-3)

    def test_crossings_are_spikes_in_the_first_step_of_a_frame(self):
        task = self.made(levels=4, coefficients=3)
        assert task.input_size == 3 * 2 * 4
        (currents,), (spikes,) = (
            each.batches("validation", 6) for each in (self.made(coding="currents", coefficients=3), task)
        )
        assert spikes.inputs.shape == (90, 6, 24)
        frames = spikes.inputs.unflatten(0, (30, 3))
        assert not frames[:, 1:].any()
        values = currents.inputs[::3].tolist()
        levels = [-2, -2 / 3, 2 / 3, 2]
        for t in range(30):
            for lane in range(6):
                expected = []
                for coefficient in range(3):
                    here = values[t][lane][coefficient]
                    after = values[t + 1][lane][coefficient] if t < 29 else here
                    expected += [float(here < level <= after) for level in levels]
                    expected += [float(after < level <= here) for level in levels]
                assert frames[t, 0, lane].tolist() == expected
        assert 0 < float(frames[:, 0].mean()) < 0.5

    def test_a_pass_of_training_shows_each_recording_once(self):
        task = self.made(coding="currents", repeats=1)
        features, labels = self.known()["train"]
        batch = task.training_batch(18, 0, 1)
        # A recording is told by its first frame.
        distances = abs(batch.inputs[0].numpy()[:, None] - np.stack([each[0] for each in features])).max(
            axis=2
        )
        order = distances.argmin(axis=1).tolist()
        assert sorted(order) == list(range(18))
        assert order != list(range(18))
        assert distances.min(axis=1).max() < 1e-3
        assert batch.targets[0].tolist() == [labels[each] for each in order]
        again = self.made(coding="currents", repeats=1)
        assert torch.equal(batch.inputs, again.training_batch(18, 0, 1).inputs)
        assert not torch.equal(batch.inputs, again.training_batch(18, 0, 2).inputs)

    @pytest.mark.parametrize("changed", [{"shift": 3}, {"stretch": 0.3}, {"offset": 0.5}])
    def test_recordings_vary_only_when_trained_on(self, changed):
        plain, varied = (
            self.made(coding="currents", repeats=1),
            self.made(coding="currents", repeats=1, **changed),
        )
        one, other = (task.training_batch(18, 0, 1) for task in (plain, varied))
        assert torch.equal(one.targets, other.targets)
        assert not torch.equal(one.inputs, other.inputs)
        assert torch.equal(other.inputs, varied.training_batch(18, 0, 1).inputs)
        assert not torch.equal(other.inputs, varied.training_batch(18, 1, 1).inputs)
        for split in ("validation", "test"):
            pairs = zip(plain.batches(split, 6), varied.batches(split, 6), strict=True)
            assert all(torch.equal(before.inputs, after.inputs) for before, after in pairs)
        pairs = zip(plain.recordings("train", 6), varied.recordings("train", 6), strict=True)
        assert all(torch.equal(before.inputs, after.inputs) for before, after in pairs)

    def test_an_offset_is_one_for_each_coefficient_of_a_recording(self):
        batches = [self.made(coding="currents", repeats=1, offset=value) for value in (0.0, 0.5)]
        before, after = (task.training_batch(18, 0, 1).inputs for task in batches)
        added = after - before
        torch.testing.assert_close(added, added[:1].expand_as(added), atol=1e-5, rtol=0)
        assert 0.4 < added[0].std() < 0.6
        assert len(set(added[0].flatten().tolist())) == added[0].numel()

    def test_loss_and_score_are_of_the_mean_over_the_sequence(self):
        task = self.made()
        (batch,) = task.batches("test", 6)
        outputs = torch.randn(90, 6, 10, generator=torch.Generator().manual_seed(0))
        means, labels = outputs.mean(dim=0), batch.targets[0]
        torch.testing.assert_close(
            task.loss(outputs, batch), torch.nn.functional.cross_entropy(means, labels)
        )
        assert score(outputs, batch) == {None: Score(int((means.argmax(dim=1) == labels).sum()), 6)}


def test_settings_of_spoken_digits_of_no_use_are_named():
    assert refusal("spoken-digits", validation_takes=41) == (
        "task.validation_takes is 41, expected less than or equal to 40"
    )
    assert refusal("spoken-digits", coding="crossing") == (
        "unknown task.coding 'crossing': did you mean 'crossings'? there is crossings, currents"
    )
    assert refusal("spoken-digits", stretch=1.5) == "task.stretch is 1.5, expected less than or equal to 1"
    assert refusal("spoken-digits", frames=30, shift=30) == (
        "task: shift is 30: expected at most 29, so that something of the 30 frames is left"
    )
    assert refusal("spoken-digits", frame=80) == (
        "unknown key 'task.frame': did you mean 'task.frames'? task has coding, coefficients, frames, kind, "
        "levels, offset, repeats, shift, stretch, validation_takes"
    )


@pytest.mark.skipif(
    not os.environ.get("LSNN_GYM_DATA"), reason="LSNN_GYM_DATA names no folder with real data"
)
def test_the_real_recordings_are_all_in_one_split_each():
    task = make_task("spoken-digits", coding="currents", coefficients=4, repeats=1)
    batches = {
        "train": task.training_batch(2400, 0, 0),
        "validation": next(iter(task.batches("validation", 400))),
        "test": next(iter(task.batches("test", 400))),
    }
    recordings: dict[str, set[bytes]] = {}
    for split, each_digit in (("train", 240), ("validation", 30), ("test", 30)):
        batch = batches[split]
        assert batch.inputs.shape == (80, 10 * each_digit, 4)
        assert torch.bincount(batch.targets[0]).tolist() == [each_digit] * 10
        recordings[split] = {batch.inputs[:, lane].numpy().tobytes() for lane in range(batch.inputs.shape[1])}
        assert len(recordings[split]) == 10 * each_digit
    assert len(set.union(*recordings.values())) == 3000
    # Of the authors' training part the first takes of each digit and speaker are validation, in their order.
    labels, speakers = fsdd("train")[1:]
    seen: dict[tuple[int, str], int] = {}
    held_out = []
    for label, speaker in zip(labels.tolist(), speakers, strict=True):
        seen[label, speaker] = seen.get((label, speaker), 0) + 1
        if seen[label, speaker] <= 5:
            held_out.append(label)
    assert batches["validation"].targets[0].tolist() == held_out
    assert batches["test"].targets[0].tolist() == fsdd("test").labels.tolist()
