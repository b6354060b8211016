"""Seeds for every purpose and iteration, derived from the run's one seed."""

from __future__ import annotations

import zlib

import numpy as np


def derived_seed(seed: int, purpose: str, iteration: int = 0) -> int:
    """Return a seed in [0, 2^31) that depends on nothing but the arguments.

    Since an iteration's random numbers follow from its number, a resumed run needs no stored generators to go
    on as if it had never stopped.

    Args:
        seed: Of the run, not negative.
        purpose: What the seed is for, e.g. ``"environment"``: distinct purposes get independent seeds.
        iteration: Counted from 0.
    """
    entropy = [seed, zlib.crc32(purpose.encode()), iteration]
    # 31 bits: Gymnasium gives lane i the seed plus i, which has to stay within 32.
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint32)[0] >> 1)
