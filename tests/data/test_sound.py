"""Recordings and their features; spoken digits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import lsnn_gym.data as data
from lsnn_gym.data import fsdd_files
from lsnn_gym.data.sound_features import frame_centres, frame_count
from lsnn_gym.data.sound_files import read_sound
from lsnn_gym.errors import UserError
from tests.data.made_files import sphere, wav

SAMPLES = np.random.default_rng(0).integers(-30_000, 30_000, size=4000).astype(np.int16)


@pytest.mark.parametrize(
    "content",
    [wav(SAMPLES), sphere(SAMPLES), sphere(SAMPLES, "10"), sphere(SAMPLES, extra="sample_coding -s3 pcm\n")],
)
def test_recordings_are_told_by_content(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "misleading.txt"
    path.write_bytes(content)
    samples, rate_hz = read_sound(path)
    np.testing.assert_array_equal(samples, SAMPLES)
    assert samples.dtype == np.int16
    assert rate_hz == 16_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with b'', expected a sound file"),
        (b"OggS....", "begins with b'OggS....', expected a sound file, NIST SPHERE"),
        (wav(SAMPLES)[:-7], "truncated: expected 4,000 samples, found 3,996"),
        (wav(SAMPLES)[:20], "truncated or damaged RIFF file"),
        (
            b"RIFF" + bytes(60),
            "truncated or damaged RIFF file: file does not start with RIFF id|not a WAVE file",
        ),
        (wav(SAMPLES, channels=2), "has 2 channels of 16 bits, expected 1 of 16"),
        (sphere(SAMPLES)[:-1], "truncated: expected 4,000 samples, found 3,999"),
        (sphere(SAMPLES)[:500], "truncated or damaged NIST SPHERE file: header of b'1024' bytes"),
        (b"NIST_1A\n   junk\n" + bytes(2000), "truncated or damaged NIST SPHERE file: header of b'junk'"),
        (
            sphere(SAMPLES).replace(b"end_head", b"end_tail"),
            "damaged NIST SPHERE file: its header has no end_head",
        ),
        (sphere(SAMPLES, channel_count=2), "has 2 channels of 16 bits"),
        (sphere(SAMPLES, sample_n_bytes=1), "has 1 channels of 8 bits"),
        (sphere(SAMPLES, sample_count="many"), "sample_count is 'many', expected a number"),
        (sphere(SAMPLES).replace(b"sample_rate", b"simple_rate"), r"sample_rate is '\(missing\)', expected"),
        (sphere(SAMPLES).replace(b"-s2 01", b"-s2 mu"), "sample_byte_format is 'mu', expected 01 or 10"),
        (
            sphere(SAMPLES, extra="sample_coding -s26 pcm,embedded-shorten-v1.09\n"),
            r"compressed \(pcm,embedded-shorten-v1.09\), expected pcm: unpack it with sph2pipe",
        ),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "sa1.wav"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"sa1\.wav: .*({message})"):
        read_sound(path)


def test_a_missing_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*sa1\.wav: No such file"):
        read_sound(tmp_path / "sa1.wav")


class TestFeatures:
    @pytest.fixture(autouse=True)
    def _library(self) -> None:
        pytest.importorskip("kaldi_native_fbank", reason="kaldi-native-fbank is not installed")

    @pytest.mark.parametrize("rate_hz", [8000, 16_000])
    @pytest.mark.parametrize("count", [400, 401, 559, 560, 4000])
    def test_there_is_a_frame_for_each_whole_window(self, rate_hz: int, count: int) -> None:
        features = data.mfcc(SAMPLES[:count], rate_hz)
        assert features.shape == (frame_count(count, rate_hz), 39)
        assert features.dtype == np.float32
        assert np.isfinite(features).all()
        centres = frame_centres(count, rate_hz)
        assert len(centres) == len(features)
        assert centres[-1] + rate_hz // 80 <= count, "the last window lies within"

    def test_the_same_sound_gives_the_same_numbers(self) -> None:
        np.testing.assert_array_equal(data.mfcc(SAMPLES, 16_000), data.mfcc(SAMPLES, 16_000))

    def test_a_frame_hears_its_own_window_only(self) -> None:
        changed = SAMPLES.copy()
        changed[:160] = 0  # before the second window
        before, after = (data.mfcc(sound, 16_000, delta_order=0) for sound in (SAMPLES, changed))
        assert not np.allclose(before[0], after[0])
        np.testing.assert_array_equal(before[1:], after[1:])

    def test_deltas_are_slopes(self) -> None:
        features = data.mfcc(SAMPLES, 16_000)
        coefficients, velocities = features[:, :13], features[:, 13:26]
        steps = [np.roll(coefficients, -step, 0) - np.roll(coefficients, step, 0) for step in (1, 2)]
        slopes = (steps[0] + 2 * steps[1]) / 10
        np.testing.assert_allclose(velocities[2:-2], slopes[2:-2], atol=1e-4)

    def test_louder_raises_the_energy_only(self) -> None:
        quiet, loud = (data.mfcc(SAMPLES // 4 * factor, 16_000, delta_order=0) for factor in (1, 2))
        np.testing.assert_allclose(loud[:, 0] - quiet[:, 0], np.log(4), atol=1e-3)
        np.testing.assert_allclose(loud[:, 1:], quiet[:, 1:], atol=1e-2)

    def test_silence_is_finite_and_shorter_than_a_window_is_refused(self) -> None:
        assert np.isfinite(data.mfcc(np.zeros(800, np.int16), 16_000)).all()
        with pytest.raises(UserError, match="a recording of 399 samples at 16000 Hz is shorter than 25 ms"):
            data.mfcc(SAMPLES[:399], 16_000)


class TestSpokenDigits:
    def test_the_official_split(self, real_data: Path) -> None:
        sizes = {}
        for split in ("train", "test"):
            waveforms, labels, speakers = data.fsdd(split)
            sizes[split] = len(waveforms)
            assert len(waveforms) == len(labels) == len(speakers)
            assert set(np.bincount(labels)) == {len(labels) // 10}
            assert len(set(speakers)) == 6
            assert all(waveform.dtype == np.int16 and waveform.ndim == 1 for waveform in waveforms)
        assert sizes == {"train": 2700, "test": 300}

    def test_the_index_can_be_written_anew(self, real_data: Path) -> None:
        assert fsdd_files.write_index(real_data / "fsdd") == (real_data / "fsdd" / "index.csv").read_bytes()
        assert data.check("fsdd") == ()

    def test_damage_and_loss_are_named(self, real_data: Path, own_folder: Path) -> None:
        folder = own_folder / "fsdd"
        shutil.copytree(real_data / "fsdd", folder)
        recordings = folder / "recordings"
        for path in (folder, recordings, folder / "index.csv", recordings / "3_theo_7.wav"):
            path.chmod(0o755)
        (recordings / "3_theo_7.wav").write_bytes((recordings / "3_theo_7.wav").read_bytes()[:-2])
        with pytest.raises(
            UserError, match=r"3_theo_7\.wav: expected sha256:\w{64}, found sha256:\w{64}: truncated"
        ):
            data.fsdd("train")
        (problem,) = data.check("fsdd")
        assert problem.path.name == "3_theo_7.wav"
        (folder / "index.csv").unlink()
        with pytest.raises(UserError, match=r"3_theo_7\.wav: truncated: expected 1,945 samples, found 1,944"):
            data.fsdd("test")
        shutil.copyfile(recordings / "3_theo_8.wav", recordings / "3_theo_7.wav")
        with pytest.raises(UserError, match="recordings: expected recordings with an index of sha256:d63c93"):
            data.fsdd("test")
        (recordings / "3_theo_7.wav").unlink()
        with pytest.raises(
            UserError, match=r"the data set 'fsdd' lacks recordings/3_theo_7\.wav; complete it"
        ):
            data.fsdd("test")

    def test_an_unknown_split_gets_the_nearest(self) -> None:
        with pytest.raises(UserError, match="unknown split 'tets': did you mean 'test'"):
            data.fsdd("tets")  # pyright: ignore[reportArgumentType]
