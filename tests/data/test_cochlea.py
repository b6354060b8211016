"""Sound as spikes: filters hear their own pitch, and spikes stand for the signal."""

from __future__ import annotations

import numpy as np
import pytest

from lsnn_gym.data.cochlea import BSA_THRESHOLD, KERNEL, bsa_spikes, centre_frequencies, cochleagram
from lsnn_gym.errors import UserError

RATE_HZ = 8000


def tone(hz: float, seconds: float = 0.5) -> np.ndarray:
    return 1000 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)


def test_frequencies_are_in_order_and_closer_where_low():
    found = centre_frequencies(64, RATE_HZ)
    assert found[[0, -1]] == pytest.approx([50, 3600])
    assert (np.diff(found, 2) > 0).all()


@pytest.mark.parametrize("channel", [5, 30, 60])
def test_a_tone_is_loudest_in_the_channel_of_its_pitch(channel: int):
    hz = centre_frequencies(64, RATE_HZ)[channel]
    found = cochleagram(tone(hz), RATE_HZ, 64)
    assert found.shape == (31, 64)
    assert found.max() == 1
    assert abs(int(found[10:].mean(axis=0).argmax()) - channel) <= 1


def test_loudness_does_not_depend_on_the_volume_and_silence_is_silent():
    sound = tone(440) + tone(1500)
    np.testing.assert_allclose(
        cochleagram(3 * sound, RATE_HZ, 20), cochleagram(sound, RATE_HZ, 20), rtol=1e-5, atol=1e-6
    )
    assert not cochleagram(np.zeros(1000, np.int16), RATE_HZ, 20).any()
    with pytest.raises(UserError, match="a recording of 127 samples at 8000 Hz is shorter than a frame"):
        cochleagram(np.zeros(127, np.int16), RATE_HZ, 20)


def obvious_bsa(signal: list[float]) -> list[int]:
    """Return the steps of the spikes, as the scheme is written down."""
    left = [*signal, *[0.0] * len(KERNEL)]
    found = []
    for i in range(len(signal)):
        with_spike = sum(abs(left[i + j] - k) for j, k in enumerate(KERNEL))
        without = sum(abs(left[i + j]) for j in range(len(KERNEL)))
        if with_spike < without - BSA_THRESHOLD:
            if i + 1 < len(signal):
                found.append(i + 1)
            for j, k in enumerate(KERNEL):
                left[i + j] -= k
    return found


def test_spikes_are_those_of_the_scheme():
    signals = np.random.default_rng(1).random((120, 6)).cumsum(axis=0) % 1.0 * np.linspace(0.05, 1, 6)
    found = bsa_spikes(signals)
    assert 20 < found.sum() < found.size / 2
    for column in range(6):
        assert np.flatnonzero(found[:, column]).tolist() == obvious_bsa(signals[:, column].tolist())


def test_kernels_at_the_spikes_follow_the_signal():
    steps = np.arange(400)
    signal = 0.3 + 0.2 * np.sin(steps / 40)
    spikes = bsa_spikes(signal[:, None])[:, 0]
    given_back = np.convolve(spikes, KERNEL)[:400]
    # A spike is a step late, and what is left over makes it a little too much.
    assert np.corrcoef(given_back[61:381], signal[60:380])[0, 1] > 0.97
    assert given_back[61:381].mean() == pytest.approx(0.3, rel=0.3)
    assert not bsa_spikes(np.zeros((50, 3))).any()
    assert bsa_spikes(np.ones((30, 2, 5))).shape == (30, 2, 5)
