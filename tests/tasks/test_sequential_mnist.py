"""Sequential MNIST: its codes, readout and loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lsnn_gym.readouts import low_pass
from lsnn_gym.tasks import sequential_mnist
from lsnn_gym.tasks.scoring import block_means, firing_rates, rate_loss


def obvious_code(pixels: list[float], num_channels: int, repeats: int, cue: int) -> list[list[int]]:
    """Return the spikes of one image, step by step, by the words of the definition."""
    shown = [pixel for pixel in pixels for _ in range(repeats)]
    highest = num_channels // 2 - 1
    rows = []
    for here, after in zip(shown, [*shown[1:], None], strict=True):
        row = []
        for k in range(highest):
            level = k / highest
            row.append(int(after is not None and here < level <= after))
            row.append(int(after is not None and after < level <= here))
        rows.append([*row, int(here == 1), 0])
    return rows + [[0] * (num_channels - 1) + [1]] * (cue * repeats)


@given(
    grey=st.lists(st.integers(0, 255), min_size=1, max_size=12),
    half=st.sampled_from([2, 4, 6, 18, 40, 52]),
    repeats=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_code_is_the_obvious_one(grey, half, repeats):
    pixels = [each / 255 for each in grey]
    coded = sequential_mnist.threshold_crossings(
        torch.tensor([pixels], dtype=torch.float64), 2 * half, repeats, 5
    )
    assert coded[:, 0].tolist() == obvious_code(pixels, 2 * half, repeats, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("divided", [True, False])
def test_a_pixel_on_a_level_counts_as_above_it(dtype, divided):
    grey = torch.tensor([[0, 85, 0, 170, 85, 255, 255]]).to(dtype)
    images = grey / 255 if divided else grey * (1 / 255)
    coded = sequential_mnist.threshold_crossings(images)
    third, two_thirds, touch = 2 * 13, 2 * 26, 78
    assert coded[:7, 0, third].tolist() == [1, 0, 1, 0, 0, 0, 0]
    assert coded[:7, 0, third + 1].tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert coded[:7, 0, two_thirds].tolist() == [0, 0, 1, 0, 1, 0, 0]
    assert coded[:7, 0, two_thirds + 1].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert coded[:7, 0, touch].tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_the_papers_code_has_840_steps_of_80_channels_and_ends_with_the_cue():
    coded = sequential_mnist.threshold_crossings(torch.rand(2, 784))
    assert coded.shape == (840, 2, 80)
    assert coded[784:, :, -1].all()
    assert coded[:, :, -1].sum() == coded[784:].sum() == 56 * 2
    assert not coded[:, :, :2].any()


def test_rows_and_grey_values_are_shown_in_order():
    images = torch.arange(12.0).reshape(2, 6)
    assert sequential_mnist.grey_values(images, 2)[:4, 1, 0].tolist() == [6, 6, 7, 7]
    assert sequential_mnist.image_rows(images, 3)[:, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_permutation_is_the_same_for_all_images_and_fixed_by_its_seed():
    images = torch.arange(20.0).reshape(2, 10)
    permuted = sequential_mnist.permute_pixels(images, 3)
    assert torch.equal(permuted[1] - permuted[0], torch.full((10,), 10.0))
    assert torch.equal(permuted, sequential_mnist.permute_pixels(images, 3))
    assert not torch.equal(permuted, images)
    assert torch.equal(permuted.sort(dim=1).values, images)


def test_the_last_block_alone_decides():
    outputs = torch.zeros(12, 2, 3)
    outputs[:9, :, 0] = 100
    outputs[9:, 0, 1] = 1
    outputs[9:, 1, 2] = 1
    labels = torch.tensor([1, 0])
    assert sequential_mnist.accuracy(outputs, labels, 4) == 0.5
    logits = torch.tensor([[0.0, 1, 0], [0, 0, 1]])
    torch.testing.assert_close(sequential_mnist.class_logits(outputs, 4), logits)
    expected = -logits.log_softmax(1)[[0, 1], labels].mean()
    torch.testing.assert_close(sequential_mnist.classification_loss(outputs, labels, 4), expected)


def test_scores_are_those_worked_out_by_hand():
    spikes = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    torch.testing.assert_close(low_pass(spikes, 0.75)[:, 0, 0], torch.tensor([0.25, 0.1875]))
    assert firing_rates(spikes).tolist() == [0.5, 0.0]
    assert firing_rates(spikes / 0.5, dt=0.5).tolist() == [2.0, 0.0]
    assert rate_loss(spikes, 250.0).item() == 2 * 0.25**2
    assert block_means(torch.arange(4.0).reshape(4, 1, 1), 2).flatten().tolist() == [0.5, 2.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sequential_mnist.threshold_crossings(torch.zeros(1, 4), 7),
            "num_channels is 7: expected an",
        ),
        (lambda: sequential_mnist.grey_values(torch.zeros(4)), r"images are \(4,\)"),
        (lambda: sequential_mnist.grey_values(torch.zeros(1, 4), 0), "repeats is 0"),
        (lambda: sequential_mnist.image_rows(torch.zeros(1, 4), 3), "a multiple of 3 pixels"),
        (lambda: block_means(torch.zeros(5, 1, 1), 2), "5 steps cannot be divided into 2"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
