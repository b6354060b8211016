"""Images turned, scaled and bent at random, anew each time they are learnt from.

Source: Simard, Steinkraus, Platt, "Best practices for convolutional neural networks applied to visual document
analysis", ICDAR 2003. The authors of ST-RSBP (Zhang, Li, NeurIPS 2019) distort MNIST so before they draw its spikes:
scaled by up to 12 %, turned by up to 12 degrees, and bent with 3.4 at a sigma of 4 pixels, before a Gaussian that the
program theirs is built on divides by 2 pi sigma instead of 2 pi sigma^2: an alpha of 13.6 here.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from lsnn_gym.settings import Settings

REACH = 2.5
"""After how many standard deviations the Gaussian that smooths displacements is cut off."""


class Distortion(Settings):
    """By how much images are distorted at most; by default not at all."""

    scale: float = Field(
        default=0.0, ge=0, lt=1, description="share by which width and height, each by itself, grow or shrink"
    )
    rotation: float = Field(default=0.0, ge=0, le=180, description="degrees by which images are turned")
    elastic: float = Field(
        default=0.0, ge=0, description="alpha: pixels, each drawn from -alpha to alpha before smoothing"
    )
    elastic_sigma: float = Field(
        default=4.0, gt=0, description="standard deviation in pixels of the Gaussian that smooths these"
    )

    @property
    def is_none(self) -> bool:
        """Return whether images stay as they are."""
        return not (self.scale or self.rotation or self.elastic)

    def draw(self, images: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Return where the pixels of so many images come from, x and y in pixels ``[images, height, width, 2]``."""
        drawn = 2 * torch.rand(images, 3, generator=generator) - 1
        scales = 1 + self.scale * drawn[:, None, None, :2]
        angles = math.radians(self.rotation) * drawn[:, 2, None, None]
        down = torch.arange(height) - (height - 1) / 2
        across = torch.arange(width) - (width - 1) / 2
        x, y = scales[..., 0] * across, scales[..., 1] * down[:, None]
        turned = torch.stack(
            [angles.cos() * x - angles.sin() * y, angles.sin() * x + angles.cos() * y], dim=3
        )
        source = turned + torch.tensor([(width - 1) / 2, (height - 1) / 2])
        if self.elastic:
            source += self._bends(images, height, width, generator)
        return source

    def _bends(self, images: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Return smooth displacements in pixels ``[images, height, width, 2]``; beyond an image's edges are none."""
        drawn = self.elastic * (2 * torch.rand(images * 2, 1, height, width, generator=generator) - 1)
        reach = math.ceil(REACH * self.elastic_sigma)
        gaussian = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / self.elastic_sigma) ** 2)
        gaussian = gaussian / gaussian.sum()
        smooth = F.conv2d(drawn, gaussian.view(1, 1, -1, 1), padding=(reach, 0))
        smooth = F.conv2d(smooth, gaussian.view(1, 1, 1, -1), padding=(0, reach))
        return smooth.view(images, 2, height, width).permute(0, 2, 3, 1)


def displaced(images: Tensor, source: Tensor) -> Tensor:
    """Return images ``[B, C, H, W]`` whose pixels come from elsewhere, interpolated linearly; beyond the edges is 0.

    Args:
        images: What they come from.
        source: See :meth:`Distortion.draw`.
    """
    height, width = images.shape[2:]
    # Of grid_sample, -1 and 1 are the centres of the outermost pixels, if corners are aligned.
    span = torch.tensor([width - 1, height - 1]).clamp(min=1)
    return F.grid_sample(images, 2 * source / span - 1, align_corners=True)
