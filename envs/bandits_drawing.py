"""Pictures of a bandit: what each arm pays, what it has paid, and how often it was pulled.

pygame is loaded when the first picture is drawn.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .frames import Color, Frame, checked_size, load_pygame

GROUND: Color = (246, 244, 239)
AXIS: Color = (196, 200, 204)
MEAN: Color = (142, 190, 150)
BEST: Color = (74, 138, 92)
PAID: Color = (38, 70, 125)
PULLS: Color = (152, 166, 194)
LAST: Color = (240, 173, 60)

_MARGIN = 0.06  # of the frame's side
_HEIGHT = 0.58  # of the frame's side, for what the arms pay; below it are the pulls


def draw_bandit(
    means: npt.ArrayLike, chosen: npt.ArrayLike, rewards: npt.ArrayLike, *, size: int = 512
) -> Frame:
    """Draw a bandit and the pulls of an episode so far.

    Above, a bar an arm, as high as its mean, the best arm's darker, and across it a line at what it has paid on
    average; below, how often it was pulled, and which one last.

    Args:
        means: What the arms pay on average, ``[arms]``.
        chosen: Arms pulled, ``[k]``.
        rewards: What they paid, ``[k]``.
        size: Pixels along each side.

    Returns:
        uint8 ``[size, size, 3]``.

    Raises:
        ValueError: If an array has another shape, or ``size`` is of no use.
        gymnasium.error.DependencyNotInstalled: If pygame is not there.
    """
    arms, paid = np.asarray(means, np.float64), np.asarray(rewards, np.float64)
    pulled = np.asarray(chosen, np.int64)
    if arms.ndim != 1 or pulled.ndim != 1 or paid.shape != pulled.shape:
        raise ValueError(
            f"means must have the shape (arms,), chosen and rewards (k,), not {arms.shape}, {pulled.shape} and "
            f"{paid.shape}"
        )
    pygame = load_pygame()
    size = checked_size(size)
    surface = pygame.Surface((size, size), 0, 32)
    surface.fill(GROUND)
    counts = np.bincount(pulled, minlength=len(arms))
    averages = np.bincount(pulled, paid, minlength=len(arms)) / np.maximum(counts, 1)
    low, high = min(0.0, arms.min(), averages.min()), max(1.0, arms.max(), averages.max())
    across = (1 - 2 * _MARGIN) * size / len(arms)
    thick = max(1, round(0.008 * size))

    def height(value: float) -> float:
        return size * (_MARGIN + _HEIGHT * (high - value) / (high - low))

    for arm, (mean, average, count) in enumerate(zip(arms, averages, counts, strict=True)):
        left, width = _MARGIN * size + (arm + 0.15) * across, max(1.0, 0.7 * across)
        top, bottom = sorted((height(mean), height(0.0)))
        color = BEST if mean == arms.max() else MEAN
        pygame.draw.rect(surface, color, (left, top, width, max(1.0, bottom - top)))
        if count:
            pygame.draw.line(surface, PAID, (left, height(average)), (left + width, height(average)), thick)
        share = count / max(1, counts.max())
        room = size * (1 - 3 * _MARGIN - _HEIGHT)
        floor = size * (1 - _MARGIN)
        color = LAST if len(pulled) and arm == pulled[-1] else PULLS
        pygame.draw.rect(surface, color, (left, floor - share * room, width, share * room))
    for level in (height(0.0), size * (1 - _MARGIN)):
        pygame.draw.line(surface, AXIS, (_MARGIN * size, level), ((1 - _MARGIN) * size, level), thick)
    return np.ascontiguousarray(pygame.surfarray.array3d(surface).swapaxes(0, 1))
