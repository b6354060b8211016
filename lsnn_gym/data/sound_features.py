"""What a listener gets to hear: mel-frequency cepstral coefficients (MFCC) of recordings."""

from __future__ import annotations

import numpy as np

from lsnn_gym.data.extras import need
from lsnn_gym.errors import UserError

WINDOW_MS = 25.0
"""Length of the window of one frame."""

STEP_MS = 10.0
"""From one frame's window to the next."""


def frame_count(samples: int, rate_hz: int) -> int:
    """Return how many whole windows fit into so many samples; frame ``t`` covers those from ``t * step`` on."""
    window, step = _in_samples(WINDOW_MS, rate_hz), _in_samples(STEP_MS, rate_hz)
    return 0 if samples < window else 1 + (samples - window) // step


def frame_centres(samples: int, rate_hz: int) -> np.ndarray:
    """Return the sample in the middle of each frame's window, int64 ``[T]``."""
    window, step = _in_samples(WINDOW_MS, rate_hz), _in_samples(STEP_MS, rate_hz)
    return window // 2 + step * np.arange(frame_count(samples, rate_hz))


def mfcc(samples: np.ndarray, rate_hz: int, coefficients: int = 13, delta_order: int = 2) -> np.ndarray:
    """Return the MFCC of a recording with their time derivatives.

    Kaldi's features, computed by ``kaldi-native-fbank``: windows of 25 ms every 10 ms that lie wholly within
    the recording, no dither (the same sound gives the same numbers), 23 mel bands from 20 Hz to half the rate,
    log energy in place of the first coefficient, deltas by regression over two frames on either side.

    Args:
        samples: int16 ``[samples]``.
        rate_hz: Samples per second.
        coefficients: How many, without derivatives.
        delta_order: 0 none, 1 velocities, 2 also accelerations.

    Returns:
        float32 ``[T, coefficients * (delta_order + 1)]``: first all coefficients, then their velocities, then
        their accelerations; not normalised. ``T`` is ``frame_count(len(samples), rate_hz)``.

    Raises:
        UserError: The library is not installed, or the recording is shorter than a window.
    """
    if frame_count(len(samples), rate_hz) == 0:
        raise UserError(
            f"a recording of {len(samples)} samples at {rate_hz} Hz is shorter than {WINDOW_MS:g} ms"
        )
    kaldi = need("kaldi_native_fbank", "kaldi-native-fbank")
    options = kaldi.MfccOptions()
    options.frame_opts.samp_freq = rate_hz
    options.frame_opts.frame_length_ms = WINDOW_MS
    options.frame_opts.frame_shift_ms = STEP_MS
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = True
    options.num_ceps = coefficients
    # Silence has no logarithm: one unit of energy, far below a recording's noise.
    options.energy_floor = 1.0
    computer = kaldi.OnlineMfcc(options)
    computer.accept_waveform(rate_hz, samples.astype(np.float32))
    computer.input_finished()
    frames = np.stack([computer.get_frame(index) for index in range(computer.num_frames_ready)])
    if delta_order:
        frames = kaldi.compute_deltas(kaldi.DeltaOptions(order=delta_order, window=2), frames)
    return np.asarray(frames, np.float32)


def _in_samples(duration_ms: float, rate_hz: int) -> int:
    return int(rate_hz * duration_ms / 1000)
