"""Speech: which phone each frame belongs to (TIMIT), which digit is said (FSDD).

Source: Garofolo and others, TIMIT, LDC93S1; Graves, Schmidhuber: Framewise phoneme classification with
bidirectional LSTM, 2005; Jackson and others, Free Spoken Digit Dataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from lsnn_gym.data import NO_LABEL, fsdd, mfcc, timit
from lsnn_gym.data.spoken_digits import RATE_HZ
from lsnn_gym.settings import Settings
from lsnn_gym.tasks.coding import crossings
from lsnn_gym.tasks.task import IGNORED, Batch, Split, Task, generator_for, shuffled_indices, slices


class Standardisation(NamedTuple):
    """Mean and standard deviation ``[F]`` of the features of the training part."""

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[np.ndarray]) -> Standardisation:
        """Return those of all frames of sequences ``[T, F]``."""
        frames = np.concatenate(sequences)
        return cls(frames.mean(axis=0), frames.std(axis=0) + 1e-6)

    def apply(self, sequence: np.ndarray) -> np.ndarray:
        """Return ``sequence`` ``[T, F]`` less the mean, in standard deviations."""
        return ((sequence - self.mean) / self.std).astype(np.float32)


def padded(sequences: Sequence[np.ndarray], length: int, fill: float) -> Tensor:
    """Return sequences ``[t, ...]`` side by side as ``[length, B, ...]``, cut or filled up at their ends."""
    shape = (length, len(sequences), *sequences[0].shape[1:])
    together = np.full(shape, fill, sequences[0].dtype)
    for lane, sequence in enumerate(sequences):
        together[: len(sequence), lane] = sequence[:length]
    return torch.from_numpy(together)


def replayed(features: Tensor, shift: int, stretch: float, generator: torch.Generator) -> Tensor:
    """Return recordings ``[T, B, F]``, each played a little earlier or later, and slower or faster.

    Source: Ko, Peddinti, Povey, Khudanpur: Audio augmentation for speech recognition, Interspeech 2015, for the speeds;
    here of frames, so that the pitch stays.

    Args:
        features: Of each frame; nearest frames are taken, so that all that comes out went in.
        shift: By how many frames at most a recording begins earlier or later, uniformly.
        stretch: Speeds are between 1 / (1 + stretch) and 1 + stretch, their logarithms uniform.
        generator: Source of the draws.

    Returns:
        As many frames; 0 where a recording has not begun or is over.
    """
    frames, lanes = features.shape[:2]
    begin = torch.randint(-shift, shift + 1, (lanes,), generator=generator)
    speed = (1 + stretch) ** (2 * torch.rand(lanes, generator=generator, dtype=torch.float64) - 1)
    source = ((torch.arange(frames)[:, None] - begin) * speed).round().long()
    played = (source >= 0) & (source < frames)
    taken = features[source.clamp(0, frames - 1), torch.arange(lanes)]
    return taken * played[..., None].to(taken.dtype)


class SpokenDigitsSettings(Settings):
    """Which digit is said, by one of six speakers."""

    kind: Literal["spoken-digits"] = "spoken-digits"
    coding: Literal["crossings", "currents"] = Field(
        default="crossings", description="spikes where a feature crosses a level, or features as currents"
    )
    coefficients: int = Field(default=13, ge=2, le=23, description="MFCC of each frame of 10 ms")
    levels: int = Field(default=8, ge=1, description="of each coefficient, from -2 to 2 standard deviations")
    frames: int = Field(
        default=80, ge=1, description="what is longer is cut, what is shorter followed by silence"
    )
    repeats: int = Field(default=2, ge=1, description="steps of a frame")
    shift: int = Field(
        default=0,
        ge=0,
        description="by up to how many frames recordings begin earlier or later at random, when trained on",
    )
    stretch: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="by up to what share recordings are faster or slower at random, when trained on",
    )
    offset: float = Field(
        default=0.0,
        ge=0,
        description="standard deviation, in those of a feature, of what is added to each of a recording's coefficients "
        "at random, as another microphone does, when trained on",
    )
    validation_takes: int = Field(
        default=5, ge=1, le=40, description="takes of each speaker and digit that are not trained on"
    )

    @model_validator(mode="after")
    def _check(self) -> SpokenDigitsSettings:
        if self.shift >= self.frames:
            raise ValueError(
                f"shift is {self.shift}: expected at most {self.frames - 1}, so that something of the {self.frames} "
                "frames is left"
            )
        return self

    def make(self) -> SpokenDigitsTask:
        """Return the task."""
        return SpokenDigitsTask(self)


class SpokenDigitsTask(Task):
    """Spoken digits: readouts averaged over the whole sequence are the answer.

    Test takes are the authors'; validation takes are the first ones of their training part.
    """

    num_classes = 10

    def __init__(self, settings: SpokenDigitsSettings) -> None:
        self.settings = settings
        spiking = settings.coding == "crossings"
        self.input_size: int = settings.coefficients * (2 * settings.levels if spiking else 1)
        if spiking:
            self.input_range: tuple[float, float] = (0.0, 1.0)
        self._loaded: dict[str, tuple[Tensor, Tensor]] = {}

    def training_batch(self, size: int, number: int, seed: int) -> Batch:
        """Return recordings in random order, pass after pass."""
        features, labels = self._recordings("train")
        index = torch.from_numpy(shuffled_indices(len(labels), size, number, seed))
        return self._batch(self._varied(features[:, index], number, seed), labels[index])

    def _varied(self, features: Tensor, number: int, seed: int) -> Tensor:
        """Return features ``[frames, B, F]`` of training batch ``number`` as shift, stretch and offset vary them."""
        settings = self.settings
        if settings.shift or settings.stretch:
            generator = generator_for(seed, "replayed", number)
            features = replayed(features, settings.shift, settings.stretch, generator)
        if settings.offset:
            drawn = torch.randn(features.shape[1:], generator=generator_for(seed, "offset", number))
            features = features + settings.offset * drawn
        return features

    def batches(self, split: Split, size: int) -> Iterator[Batch]:
        """Return the recordings of a split in order."""
        yield from self._in_order(split, size)

    def recordings(self, split: Literal["train", "test"], size: int) -> Iterator[Batch]:
        """Yield the authors' training or test part once, in batches: validation takes after those trained on."""
        for part in ("train", "validation") if split == "train" else ("test",):
            yield from self._in_order(part, size)

    def _in_order(self, part: str, size: int) -> Iterator[Batch]:
        features, labels = self._recordings(part)
        for lanes in slices(len(labels), size):
            yield self._batch(features[:, lanes], labels[lanes])

    def _recordings(self, split: str) -> tuple[Tensor, Tensor]:
        """Return standardised features ``[frames, M, F]`` and labels ``[M]``."""
        if not self._loaded:
            self._load()
        return self._loaded[split]

    def _load(self) -> None:
        settings = self.settings
        recordings = {split: fsdd(split) for split in ("train", "test")}
        features = {
            split: [mfcc(each, RATE_HZ, settings.coefficients, 0) for each in part.waveforms]
            for split, part in recordings.items()
        }
        train = recordings["train"]
        # Of one speaker and digit the takes stand together, in order.
        take = _number_in_group(list(zip(train.labels.tolist(), train.speakers, strict=True)))
        held_out = np.array(take) < settings.validation_takes
        chosen = {
            "train": ("train", np.flatnonzero(~held_out)),
            "validation": ("train", np.flatnonzero(held_out)),
            "test": ("test", np.arange(len(recordings["test"].labels))),
        }
        scale = Standardisation.of([features["train"][index] for index in chosen["train"][1]])
        for split, (source, index) in chosen.items():
            sequences = [scale.apply(features[source][each]) for each in index]
            labels = torch.from_numpy(recordings[source].labels[index])
            self._loaded[split] = padded(sequences, settings.frames, 0.0), labels

    def _batch(self, features: Tensor, labels: Tensor) -> Batch:
        settings = self.settings
        shown = features
        if settings.coding == "crossings":
            onset, offset = crossings(features, torch.linspace(-2, 2, settings.levels))
            # A spike is one step long, however long the frame.
            shown = torch.cat([onset, offset], dim=-1).flatten(2)
            return Batch(_once(shown, settings.repeats), labels[None])
        return Batch(shown.repeat_interleave(settings.repeats, dim=0), labels[None])


def _number_in_group(keys: Sequence[object]) -> list[int]:
    """Return how many equal keys stand before each."""
    seen: dict[object, int] = {}
    numbers = []
    for key in keys:
        numbers.append(seen.get(key, 0))
        seen[key] = numbers[-1] + 1
    return numbers


def _once(values: Tensor, repeats: int) -> Tensor:
    """Return ``[T * repeats, ...]`` with each value in the first of its steps and 0 in the others."""
    spread = values.new_zeros(len(values), repeats, *values.shape[1:])
    spread[:, 0] = values
    return spread.flatten(0, 1)


class FramewisePhonesSettings(Settings):
    """Which phone each frame of 10 ms belongs to, in one's own copy of TIMIT."""

    kind: Literal["framewise-phones"] = "framewise-phones"
    root: str | None = Field(
        default=None, description="the corpus' folder; by default as data sets are found"
    )
    classes: Literal[61, 48, 39] = Field(default=61, description="phones that are told apart")
    glottal_stop: Literal["silence", "unlabelled"] = Field(
        default="silence", description="what becomes of q among 48 or 39 phones"
    )
    repeats: int = Field(default=5, ge=1, description="steps of a frame")
    complete: bool = Field(default=True, description="refuse a copy that lacks utterances")

    def make(self) -> FramewisePhonesTask:
        """Return the task."""
        return FramewisePhonesTask(self)


class FramewisePhonesTask(Task):
    """Framewise phones: a window is a frame; 39 standardised features are currents.

    Validation is Kaldi's development set, test the core test set.
    """

    figure = "frame_error"
    input_size = 39

    def __init__(self, settings: FramewisePhonesSettings) -> None:
        self.settings = settings
        self.num_classes = settings.classes
        self._loaded: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
        self._scale: Standardisation | None = None

    def training_batch(self, size: int, number: int, seed: int) -> Batch:
        """Return utterances in random order, pass after pass, padded to the longest of them."""
        return self._batch("train", shuffled_indices(len(self._utterances("train")[0]), size, number, seed))

    def batches(self, split: Split, size: int) -> Iterator[Batch]:
        """Return the utterances of a split in order, padded to the longest of each batch."""
        for part in slices(len(self._utterances(split)[0]), size):
            yield self._batch(split, np.arange(part.start, part.stop))

    def _utterances(self, split: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return standardised features ``[T, 39]`` and labels ``[T]`` of each utterance."""
        if split not in self._loaded:
            settings = self.settings
            corpus = timit(
                settings.root,
                {"train": "train", "validation": "dev", "test": "core-test"}[split],  # type: ignore[arg-type]
                classes=settings.classes,
                glottal_stop=settings.glottal_stop,
                complete=settings.complete,
            )
            features = [each.features for each in corpus.utterances]
            if self._scale is None:
                self._scale = Standardisation.of(features) if split == "train" else self._training_scale()
            scaled = [self._scale.apply(each) for each in features]
            self._loaded[split] = scaled, [each.labels for each in corpus.utterances]
        return self._loaded[split]

    def _training_scale(self) -> Standardisation:
        self._utterances("train")
        assert self._scale is not None
        return self._scale

    def _batch(self, split: str, index: np.ndarray) -> Batch:
        features, labels = self._utterances(split)
        longest = max(len(labels[each]) for each in index)
        shown = padded([features[each] for each in index], longest, 0.0)
        targets = padded([labels[each] for each in index], longest, IGNORED)
        assert NO_LABEL == IGNORED
        return Batch(shown.repeat_interleave(self.settings.repeats, dim=0), targets)
