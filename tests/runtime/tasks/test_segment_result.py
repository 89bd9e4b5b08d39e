"""What a Segmentation says and draws: areas, palette images, overlays."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvit2.errors import ImageError, UsageError
from mvit2.image.palette import rgb_table, voc_colors
from mvit2.image.placement import Placement
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime import Area, Segmentation

LABELS = ("sky", "grass", "road", "cow")
COLORS = ("#000000", "#ff0000", "#00ff00", "#0000fe")


def of(seen: Any, size: tuple[int, int], spec: PreprocessSpec, colors: tuple[str, ...] = COLORS) -> Segmentation:
    return Segmentation.of(np.array(seen, np.uint8), Placement.of(size, spec), LABELS, colors)


WHOLE = of([[0, 1, 1, 1], [3, 3, 1, 0]], (4, 2), PreprocessSpec((32, 32), None, (32, 32)))
MIDDLE = of([[1, 1], [2, 1]], (4, 2), PreprocessSpec((32, 32), 32))  # columns 1 and 2 of 4


def test_areas() -> None:
    assert WHOLE.classes == (Area("grass", 0.5, 1), Area("sky", 0.25, 0), Area("cow", 0.25, 3))
    assert (WHOLE.box, WHOLE.seen) == ((0, 0, 4, 2), 1.0)


def test_what_was_not_seen_has_no_class() -> None:
    assert MIDDLE.mask.tolist() == [[255, 1, 1, 255], [255, 2, 1, 255]]
    assert (MIDDLE.box, MIDDLE.seen) == ((1, 0, 3, 2), 0.5)
    assert MIDDLE.classes == (Area("grass", 0.375, 1), Area("road", 0.125, 2))  # shares of the whole picture


def test_a_picture_of_which_nothing_was_seen() -> None:
    found = of(np.zeros((0, 1)), (1, 2), PreprocessSpec((64, 64), 68))
    assert (found.mask.tolist(), found.classes, found.seen) == ([[255], [255]], (), 0.0)


def test_the_mask_is_a_palette_png(tmp_path: Path) -> None:
    MIDDLE.color_mask().save(tmp_path / "mask.png")
    opened = Image.open(tmp_path / "mask.png")
    assert (opened.format, opened.mode, opened.size) == ("PNG", "P", (4, 2))
    assert np.array_equal(np.asarray(opened), MIDDLE.mask)
    rgb = np.asarray(opened.convert("RGB"))
    assert rgb[:, 1:3].tolist() == [[[255, 0, 0], [255, 0, 0]], [[0, 255, 0], [255, 0, 0]]]
    assert rgb[0, 0].tolist() == rgb_table(voc_colors(256))[255].tolist()


@pytest.mark.parametrize("opacity", [0.0, 0.25, 0.5, 1.0])
def test_the_overlay_mixes_colours_into_the_picture(opacity: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (2, 4, 3), np.uint8)
    for found in (WHOLE, MIDDLE):
        drawn = found.overlay(picture, opacity)
        assert (drawn.mode, drawn.size) == ("RGB", (4, 2))
        colors = rgb_table(COLORS)[found.mask].astype(float)
        plain = np.isin(found.mask, (0, 255))[..., None]  # black, and not seen
        expected = np.where(plain, picture, picture * (1 - opacity) + colors * opacity)
        assert np.abs(np.asarray(drawn) - expected).max() <= 1.5


def test_a_network_of_256_classes_uses_every_index() -> None:
    labels = tuple(map(str, range(256)))
    placement = Placement.of((4, 2), PreprocessSpec((32, 32), 32))
    found = Segmentation.of(np.array([[255, 255], [1, 255]], np.uint8), placement, labels, voc_colors(256))
    assert [area.index for area in found.classes] == [255, 1] and found.classes[0].share == 0.375
    drawn = np.asarray(found.overlay(np.zeros((2, 4, 3), np.uint8), 1.0))
    assert drawn[0, :2].tolist() == [[0, 0, 0], [0xE0, 0xE0, 0xC0]]  # not seen, seen


def test_an_overlay_takes_any_source_of_the_picture() -> None:
    picture, buffer = np.full((2, 4, 3), 100, np.uint8), io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    drawn = [np.asarray(WHOLE.overlay(source)) for source in (picture, buffer.getvalue(), Image.fromarray(picture))]
    assert all(np.array_equal(drawn[0], other) for other in drawn)


@pytest.mark.parametrize(
    ("picture", "opacity", "kind", "wrong"),
    [
        (np.zeros((4, 2, 3), np.uint8), 0.5, ImageError, "the image has 2x4 pixels, its mask 4x2"),
        (np.zeros((2, 4, 3), np.uint8), 1.01, UsageError, "opacity is 1.01, accepted: 0 to 1."),
        (np.zeros((2, 4, 3), np.uint8), float("nan"), UsageError, "opacity is nan"),
        ("none.jpg", 0.5, ImageError, "'none.jpg' does not exist"),
    ],
)
def test_what_an_overlay_refuses(picture: Any, opacity: float, kind: type[Exception], wrong: str) -> None:
    with pytest.raises(kind) as caught:
        WHOLE.overlay(picture, opacity)
    assert wrong in str(caught.value) and "\n" not in str(caught.value)
