"""What stands before a recurrent core: pictures among the inputs become features, the same for every core."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lsnn_gym.tasks.scoring import matching_losses

EncoderName = Literal["none", "convolution"]
"""What may stand before a core."""

_LEAST_SIDE = 4
"""Maps with a shorter side are not halved any more."""


class PictureEncoder(nn.Module):
    """Turns the picture in the first channels of each step into features; the other channels pass unchanged.

    Layers of 3 x 3 convolution, normalisation of each picture by itself, rectification and 2 x 2 maximum, until a
    side is shorter than 4; then one linear layer, whose outputs are shifted to mean 0 and scaled to one variance over
    the features of a picture, so that currents have a known strength from the first iteration on. Nothing depends on
    the other pictures of a batch.

    Args:
        shape: Height and width of the pictures, H and W.
        channels: Of the first convolution; the later ones have twice as many.
        features: E, into which a picture is turned.
        generator: Source of the initial weights.
        scale: Standard deviation of the features at first.

    Source: the convolutions are those of Vinyals and others: Matching networks for one shot learning, NIPS 2016, but
    normalised over a picture instead of a batch.

    Raises:
        ValueError: If the pictures are too small to be halved even once.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        channels: int,
        features: int,
        generator: torch.Generator,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if min(shape) < _LEAST_SIDE:
            raise ValueError(
                f"pictures are {shape[0]} x {shape[1]}: expected at least {_LEAST_SIDE} x {_LEAST_SIDE} to encode"
            )
        self.shape = shape
        self.features = features
        # PyTorch's own initialisation takes no generator; fork so that the caller's draws stay its own.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            self.layers: nn.Sequential = _layers(shape, channels, features)
        scaling = nn.LayerNorm(features)
        nn.init.constant_(scaling.weight, scale)
        self.layers.append(scaling)

    def encoded_size(self, input_size: int) -> int:
        """Return E + I - H * W: how many channels a step has once its ``input_size`` I are encoded."""
        height, width = self.shape
        return input_size - height * width + self.features

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``[T, B, E + I - H * W]`` for inputs ``[T, B, I]``: features, then the channels after the picture.

        A picture that stays for some steps is encoded once: again only where one of the B differs from the step
        before.
        """
        height, width = self.shape
        pictures, others = inputs.split([height * width, inputs.shape[2] - height * width], dim=2)
        changes = torch.ones(len(pictures), dtype=torch.bool, device=inputs.device)
        changes[1:] = (pictures[1:] != pictures[:-1]).flatten(1).any(dim=1)
        distinct = pictures[changes]
        features = self.layers(distinct.reshape(-1, 1, height, width)).unflatten(0, distinct.shape[:2])
        return torch.cat([features[changes.cumsum(dim=0) - 1], others], dim=2)

    def matching_losses(self, encoded: Tensor, targets: Tensor) -> Tensor:
        """Return ``tasks.scoring.matching_losses`` ``[J]`` of the pictures to which answers are asked for.

        Args:
            encoded: From ``forward``, ``[T, B, E + I - H * W]``.
            targets: Of the answers ``[W, B]``, negative where nothing is asked; a window's last step has the picture.
        """
        windows = encoded.unflatten(0, (len(targets), -1))[:, -1, :, : self.features]
        asked = (targets >= 0).any(dim=1)
        return matching_losses(windows[asked], targets[asked])


def _layers(shape: tuple[int, int], channels: int, features: int) -> nn.Sequential:
    """Return the convolutions and the linear layer: ``[M, 1, H, W]`` to ``[M, E]``."""
    height, width = shape
    layers: list[nn.Module] = []
    before, after = 1, channels
    while min(height, width) >= _LEAST_SIDE:
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.GroupNorm(1, after),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        before, after = after, 2 * channels
        height, width = height // 2, width // 2
    linear = nn.Linear(before * height * width, features, bias=False)
    return nn.Sequential(*layers, nn.Flatten(), linear)
