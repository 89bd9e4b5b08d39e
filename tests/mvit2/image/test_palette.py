"""Colours of classes: PASCAL VOC's map, as its development kit computes it."""

from __future__ import annotations

import numpy as np
import pytest

from mvit2.image.palette import COLOR, class_colors, rgb_table, voc_colors


@pytest.mark.parametrize(
    ("index", "color"),
    [
        (0, "#000000"),  # background
        (1, "#800000"),  # aeroplane
        (2, "#008000"),
        (3, "#808000"),
        (4, "#000080"),
        (8, "#400000"),
        (15, "#c08080"),  # person
        (20, "#004080"),  # tvmonitor
        (21, "#804080"),
        (255, "#e0e0c0"),  # "void"
    ],
)
def test_the_colors_of_voc(index: int, color: str) -> None:
    assert voc_colors(index + 1)[index] == color


def test_any_number_of_classes_has_colors_of_its_own() -> None:
    assert voc_colors(0) == ()
    colors = voc_colors(1000)
    assert len(set(colors)) == 1000 and colors[:21] == voc_colors(21)
    assert all(COLOR.fullmatch(color) for color in colors)


@pytest.mark.parametrize(
    ("labels", "colors"),
    [
        (("background", "cat"), ("#000000", "#800000")),
        (("Background",), ("#000000",)),
        (("LABEL_0", "LABEL_1"), ("#000000", "#800000")),
        (("sky", "road", "car"), ("#800000", "#008000", "#808000")),
        ((), ()),
    ],
)
def test_black_is_for_a_background_alone(labels: tuple[str, ...], colors: tuple[str, ...]) -> None:
    assert class_colors(labels) == colors


@pytest.mark.parametrize("count", [0, 1, 3, 256])
def test_a_table_begins_with_the_given_colors(count: int) -> None:
    given = ["#0102ff"] * count
    table = rgb_table(given)
    assert (table.dtype, table.shape) == (np.uint8, (256, 3))
    assert [list(row) for row in table[:count]] == [[1, 2, 255]] * count
    assert bytes(table[count:]) == bytes.fromhex("".join(color[1:] for color in voc_colors(256)[count:]))
