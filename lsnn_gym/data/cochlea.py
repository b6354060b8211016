"""Sound as a cochlea and its nerve would have it: a bank of gammatone filters, and spikes by BSA.

Sources: Slaney: An efficient implementation of the Patterson-Holdsworth auditory filter bank, Apple 1993; Schrauwen,
Van Campenhout: BSA, a fast and accurate spike train encoding scheme, IJCNN 2003.
"""

from __future__ import annotations

import numpy as np

from lsnn_gym.errors import UserError

FRAMES_PER_SECOND = 62.5
"""As TI46 was prepared for ST-RSBP."""
KERNEL = np.exp(-((np.arange(24) - 12.0) ** 2) / 25)
KERNEL = KERNEL / KERNEL.sum()
"""What one spike stands for, a value a step; its sum is 1."""
BSA_THRESHOLD = 0.6

_LOWEST_HZ, _IMPULSE_S = 50.0, 0.1
_AT_ONCE = 1 << 13


def centre_frequencies(channels: int, rate_hz: int) -> np.ndarray:
    """Return the filters' frequencies in Hz ``[channels]``, evenly spaced as the ear resolves them.

    They go from 50 Hz to nine tenths of half the rate, in steps of the equivalent rectangular bandwidth's scale.
    """
    lowest, highest = (21.4 * np.log10(1 + 0.00437 * hz) for hz in (_LOWEST_HZ, 0.45 * rate_hz))
    return (10 ** (np.linspace(lowest, highest, channels) / 21.4) - 1) / 0.00437


def cochleagram(samples: np.ndarray, rate_hz: int, channels: int) -> np.ndarray:
    """Return the loudness of a recording in each channel and frame, 1 for the loudest of the recording.

    Each channel is a gammatone filter of fourth order; a frame's loudness is the root of the mean of the filtered
    sound's squares.

    Args:
        samples: ``[samples]``.
        rate_hz: Samples a second.
        channels: Filters.

    Returns:
        float32 ``[frames, channels]``, 62.5 frames a second; of silence all zeros.

    Raises:
        UserError: The recording is shorter than a frame.
    """
    frame = round(rate_hz / FRAMES_PER_SECOND)
    count = len(samples) // frame
    if not count:
        raise UserError(f"a recording of {len(samples)} samples at {rate_hz} Hz is shorter than a frame")
    centres = centre_frequencies(channels, rate_hz)[:, None]
    seconds = np.arange(int(_IMPULSE_S * rate_hz)) / rate_hz
    bandwidth = 1.019 * 24.7 * (1 + 0.00437 * centres)
    impulses = seconds**3 * np.exp(-2 * np.pi * bandwidth * seconds) * np.cos(2 * np.pi * centres * seconds)
    length = 1 << (len(samples) + len(seconds)).bit_length()
    responses = np.fft.rfft(impulses, length)
    responses /= np.abs(responses).max(axis=1, keepdims=True)
    filtered = np.fft.irfft(np.fft.rfft(samples.astype(np.float64), length) * responses, length)
    frames = filtered[:, : count * frame].reshape(channels, count, frame)
    loudness = np.sqrt((frames**2).mean(axis=2)).T
    loudest = loudness.max()
    return (loudness / loudest if loudest > 0 else loudness).astype(np.float32)


def bsa_spikes(signals: np.ndarray) -> np.ndarray:
    """Return spikes that stand for signals: each subtracts a kernel where that brings the signal nearer to 0.

    At step i a spike is emitted for step i + 1 if the absolute values of the next 24 steps, less the kernel, sum to
    less than without it by more than 0.6.

    Args:
        signals: Not negative ``[T, ...]``.

    Returns:
        bool ``[T, ...]``.
    """
    flat = signals.reshape(len(signals), -1)
    spikes = np.zeros(flat.shape, bool)
    for start in range(0, flat.shape[1], _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        spikes[:, part] = _bsa(flat[:, part])
    return spikes.reshape(signals.shape)


def _bsa(signals: np.ndarray) -> np.ndarray:
    steps, count = signals.shape
    left = np.concatenate([signals, np.zeros((len(KERNEL), count))]).astype(np.float32)
    kernel = KERNEL.astype(np.float32)[:, None]
    spikes = np.zeros((steps, count), bool)
    for step in range(steps):
        window = left[step : step + len(KERNEL)]
        without = np.abs(window - kernel)
        fires = without.sum(axis=0) < np.abs(window).sum(axis=0) - BSA_THRESHOLD
        if fires.any():
            window -= kernel * fires
            if step + 1 < steps:
                spikes[step + 1] = fires
    return spikes
