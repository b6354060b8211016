"""Networks as papers write them."""

from __future__ import annotations

import re

import pytest

from lsnn_gym.rules.architecture import Convolution, Dense, Pool, parse_architecture, place_layers


def test_every_form_of_layer_is_read():
    assert parse_architecture("15C5-P2-40C5p2-R300-10") == (
        Convolution(15, 5),
        Pool(2),
        Convolution(40, 5, 2),
        Dense(300, recurrent=True),
        Dense(10),
    )
    assert parse_architecture(" 400 - 400 ") == (Dense(400), Dense(400))
    assert parse_architecture("") == ()


@pytest.mark.parametrize(
    "text", ["400-", "-400", "4OO", "15C", "C5", "0", "15C0", "P", "R", "15c5", "P2.5", "1" * 9]
)
def test_what_is_no_layer_is_named(text: str):
    with pytest.raises(ValueError, match="expected layers joined by '-', each like 400, R400, 15C5"):
        parse_architecture(text)


def test_shapes_follow_from_layer_to_layer_up_to_the_output():
    placed = place_layers(parse_architecture("15C5-P2-40C5-P2-300"), (1, 28, 28), 10)
    assert [each.outputs for each in placed] == [
        (15, 24, 24),
        (15, 12, 12),
        (40, 8, 8),
        (40, 4, 4),
        (300,),
        (10,),
    ]
    assert [each.inputs for each in placed] == [(1, 28, 28), *(each.outputs for each in placed[:-1])]


def test_padding_is_the_rules_unless_it_is_named():
    own = place_layers(parse_architecture("2C5-2C5p1"), (1, 9, 9), 3, own_padding=lambda kernel: kernel // 2)
    assert [each.outputs for each in own[:2]] == [(2, 9, 9), (2, 7, 7)]
    assert own[0].layer == Convolution(2, 5, 2)


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ("3C3", (64,), "layer 3C3 stands on 64 values: expected an image below it"),
        ("100-P2", (1, 8, 8), "layer P2 stands on 100 values"),
        ("3C9", (1, 8, 8), "layer 3C9 does not fit on images of 8 x 8"),
        ("P9", (1, 8, 8), "layer P9 does not fit on images of 8 x 8"),
    ],
)
def test_layers_that_do_not_fit_are_named(text: str, shape: tuple[int, ...], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        place_layers(parse_architecture(text), shape, 10)
