"""Images turned, scaled and bent."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lsnn_gym.classification.coding import EventCoding, RepeatCoding
from lsnn_gym.classification.distortion import Distortion, displaced
from lsnn_gym.classification.division import DataSettings, load_divided
from lsnn_gym.classification.examples import CodedImages
from lsnn_gym.lanes import Share

SIZE = (9, 12)


def drawn(distortion: Distortion, images: int = 500, seed: int = 1) -> torch.Tensor:
    return distortion.draw(images, *SIZE, torch.Generator().manual_seed(seed))


def from_the_centre(source: torch.Tensor) -> torch.Tensor:
    return source - torch.tensor([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2])


def pixels() -> torch.Tensor:
    down, across = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in SIZE), indexing="ij")
    return torch.stack([across, down], dim=2)


def test_nothing_asked_for_leaves_an_image_as_it_is():
    images = torch.rand(3, 2, *SIZE)
    assert Distortion(elastic_sigma=2.0).is_none
    torch.testing.assert_close(drawn(Distortion(), 3), pixels().expand(3, -1, -1, -1))
    torch.testing.assert_close(displaced(images, drawn(Distortion(), 3)), images, atol=1e-5, rtol=0)


def test_pixels_come_from_where_they_are_said_to():
    images = torch.rand(1, 2, *SIZE)
    beside = displaced(images, pixels()[None] + torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(beside[..., :-1], images[..., 1:], atol=1e-5, rtol=0)
    assert beside[..., -1].abs().max() < 1e-5
    between = displaced(images, pixels()[None] + torch.tensor([0.0, -0.25]))
    torch.testing.assert_close(
        between[..., 1:, :], 0.75 * images[..., 1:, :] + 0.25 * images[..., :-1, :], atol=1e-5, rtol=0
    )


def test_images_are_turned_around_their_centre():
    to, source = from_the_centre(pixels()), from_the_centre(drawn(Distortion(rotation=30.0)))
    torch.testing.assert_close(source.norm(dim=3), to.norm(dim=2).expand(500, -1, -1), atol=1e-4, rtol=0)
    angle = torch.atan2(source[..., 1], source[..., 0]) - torch.atan2(to[..., 1], to[..., 0])
    angle = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    away = to.norm(dim=2) > 1
    assert float((angle[:, away].amax(1) - angle[:, away].amin(1)).max()) < 1e-4
    found = torch.rad2deg(angle[:, 0, 0])
    # Of 500 draws, the chance that none is within 5 % of an end is 7e-12.
    assert -30 <= float(found.min()) < -27
    assert 27 < float(found.max()) <= 30


def test_width_and_height_are_scaled_each_by_itself():
    to, source = from_the_centre(pixels()), from_the_centre(drawn(Distortion(scale=0.2)))
    across, down = source[:, 0, 0, 0] / to[0, 0, 0], source[:, 0, 0, 1] / to[0, 0, 1]
    whole = torch.stack([across, down], dim=1)[:, None, None, :] * to
    torch.testing.assert_close(source, whole, atol=1e-4, rtol=0)
    for factor in (across, down):
        assert 0.8 <= float(factor.min()) < 0.82
        assert 1.18 < float(factor.max()) <= 1.2
    # The standard error of a correlation of 0 is 0.045.
    assert abs(np.corrcoef(across, down)[0, 1]) < 0.2


def test_bends_are_noise_behind_a_gaussian():
    bends = drawn(Distortion(elastic=10.0, elastic_sigma=2.0), 4) - pixels()
    generator = torch.Generator().manual_seed(1)
    torch.rand(4, 3, generator=generator)
    noise = 10 * (2 * torch.rand(4, 2, *SIZE, generator=generator) - 1)
    weight = {by: math.exp(-(by**2) / (2 * 2.0**2)) for by in range(-5, 6)}
    expected = torch.zeros_like(noise)
    for row, column in np.ndindex(*SIZE):
        for down, across in np.ndindex(*SIZE):
            share = weight.get(down - row, 0) * weight.get(across - column, 0) / sum(weight.values()) ** 2
            expected[:, :, row, column] += share * noise[:, :, down, across]
    torch.testing.assert_close(bends, expected.permute(0, 2, 3, 1), atol=1e-5, rtol=0)


def test_a_batch_is_distorted_anew_by_seed_and_alike_in_shares():
    images = torch.randint(0, 256, (6, 3, *SIZE), dtype=torch.uint8)
    labels = torch.zeros(6, dtype=torch.int64)
    distortion = Distortion(scale=0.1, rotation=10.0, elastic=8.0)
    examples = CodedImages(images, 255, labels, RepeatCoding(steps=1), labels, distortion=distortion)
    index = torch.arange(6)
    whole = examples.inputs(index, 1)
    assert torch.equal(whole, examples.inputs(index, 1))
    assert not torch.equal(whole, examples.inputs(index, 2))
    torch.testing.assert_close(whole[:, 2:5], examples.inputs(index, 1, Share(6, 2, 3)))
    assert examples.subset(index[:2]).distortion == distortion
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_only_images_that_are_learnt_from_are_distorted():
    settings = DataSettings(name="digits", validation=10, distortion=Distortion(rotation=20.0))
    divided = load_divided(settings, RepeatCoding(steps=1), 1)
    index = torch.arange(10)
    assert not torch.equal(divided.train.inputs(index, 1), divided.train.inputs(index, 2))
    for part in (divided.validation, divided.test):
        assert part is not None
        assert torch.equal(part.inputs(index, 1), part.inputs(index, 2))


def test_what_has_no_pixels_is_not_distorted():
    with pytest.raises(ValueError, match="distortion is for images: expected none with nmnist"):
        load_divided(
            DataSettings(name="nmnist", validation=0, distortion=Distortion(scale=0.1)), EventCoding(), 1
        )
