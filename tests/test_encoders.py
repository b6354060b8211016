"""The encoder of pictures: what it computes, how often, where it stands, and what its own loss teaches it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lsnn_gym.encoders import PictureEncoder

SIDE, LABELS, FEATURES = 8, 3, 10


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoder(seed: int = 0, shape: tuple[int, int] = (SIDE, SIDE), **changes: Any) -> PictureEncoder:
    return PictureEncoder(shape, channels=4, features=FEATURES, generator=source(seed), **changes)


def shown(steps: int = 6, batch: int = 5, seed: int = 1) -> Tensor:
    return torch.rand(steps, batch, SIDE**2 + LABELS, generator=source(seed))


def count_pictures(module: PictureEncoder) -> list[int]:
    """Return a list to which every call adds how many pictures the layers were given."""
    counts: list[int] = []
    module.layers.register_forward_pre_hook(lambda _, given: counts.append(len(given[0])))
    return counts


def test_features_come_first_and_the_other_channels_pass():
    inputs = shown()
    encoded = encoder()(inputs)
    assert encoded.shape == (6, 5, FEATURES + LABELS)
    assert encoder().encoded_size(SIDE**2 + LABELS) == FEATURES + LABELS
    assert torch.equal(encoded[..., FEATURES:], inputs[..., SIDE**2 :])


def test_pictures_are_read_row_by_row():
    module, inputs = encoder(shape=(4, 16)), shown(1, 2)
    pictures = torch.stack([each[:64].reshape(4, 16) for each in inputs[0]])
    torch.testing.assert_close(module(inputs)[0, :, :FEATURES], module.layers(pictures[:, None]))


def test_a_picture_is_encoded_alike_in_any_company():
    module, inputs = encoder(), shown()
    together = module(inputs)
    for step in range(6):
        for lane in range(5):
            alone = module(inputs[step : step + 1, lane : lane + 1])
            torch.testing.assert_close(together[step : step + 1, lane : lane + 1], alone)


def test_a_picture_that_stays_is_encoded_once_even_if_it_comes_again():
    module, drawn = encoder(), shown(3)
    inputs = drawn[[0, 0, 1, 1, 1, 0, 2]]
    labels = shown(7, seed=2)[..., SIDE**2 :]
    inputs[..., SIDE**2 :] = labels  # which change all the time
    counts = count_pictures(module)
    encoded = module(inputs)
    assert counts == [4 * 5]
    expected = torch.stack([module(each[None])[0] for each in inputs])
    torch.testing.assert_close(encoded, expected)


def test_where_one_sequence_goes_on_to_another_picture_all_are_encoded():
    module = encoder()
    inputs = shown(1).repeat(3, 1, 1)
    inputs[2, 3] = 0.5
    counts = count_pictures(module)
    encoded = module(inputs)
    assert counts == [2 * 5]
    assert torch.equal(encoded[0], encoded[1])
    same = (encoded[2, :, :FEATURES] - encoded[1, :, :FEATURES]).abs().amax(dim=1) < 1e-6
    assert same.tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("scale", [1.0, 0.2])
def test_features_have_the_scale_asked_for_whatever_the_contrast(scale):
    inputs = shown() * torch.logspace(-1, 1, 6)[:, None, None]
    features = encoder(scale=scale)(inputs)[..., :FEATURES]
    torch.testing.assert_close(features.mean(dim=2), torch.zeros(6, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        features.std(dim=2, correction=0), torch.full((6, 5), scale), atol=0.01, rtol=0
    )


def test_maps_are_halved_until_a_side_is_shorter_than_4():
    def convolutions(*shape: int) -> list[tuple[int, int]]:
        layers = encoder(shape=(shape[0], shape[1])).layers
        return [(each.in_channels, each.out_channels) for each in layers if isinstance(each, nn.Conv2d)]

    assert convolutions(28, 28) == [(1, 4), (4, 8), (8, 8)]  # sides of 28, 14, 7; then 3
    assert convolutions(8, 8) == [(1, 4), (4, 8)]
    assert convolutions(4, 100) == [(1, 4)]


def test_a_shape_too_small_to_be_halved_is_refused():
    with pytest.raises(ValueError, match=r"^pictures are 3 x 9: expected at least 4 x 4 to encode$"):
        encoder(shape=(3, 9))


def test_weights_follow_from_the_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one = encoder(3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    other, another = encoder(3).state_dict(), encoder(4).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["layers.0.weight"], another["layers.0.weight"])


def test_the_matching_loss_looks_at_the_last_step_of_windows_that_ask():
    module, drawn = encoder(), shown(4, 1)
    # Three steps a window; pictures 0 and 2 are of one class, 1 and 3 of another, and one window asks for nothing.
    targets = torch.tensor([[0], [1], [-100], [0], [1]])
    inputs = shown(15, 1, seed=9)
    inputs[[2, 5, 11, 14]] = drawn
    found = module.matching_losses(module(inputs), targets).mean()
    unit = nn.functional.normalize(module(drawn)[:, 0, :FEATURES], dim=1)
    likeness = (unit @ unit.T * FEATURES**0.5).exp()
    third = likeness[2, 0] / (likeness[2, 0] + likeness[2, 1])
    fourth = likeness[3, 1] / (likeness[3, 0] + likeness[3, 1] + likeness[3, 2])
    torch.testing.assert_close(found, -(third.log() + fourth.log()) / 2)


def test_the_matching_loss_teaches_to_tell_classes_apart():
    # Three patterns in noise as strong as they are.
    patterns = torch.randn(3, SIDE**2, generator=source(3))
    module = encoder()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    losses = []
    for number in range(60):
        classes = torch.stack(
            [torch.randperm(12, generator=source(100 * number + i)) % 3 for i in range(8)], 1
        )
        pictures = patterns[classes] + torch.randn(12, 8, SIDE**2, generator=source(number))
        loss = module.matching_losses(module(pictures), classes).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
