"""Logits and masks brought to the picture's size, against torch's interpolate and Pillow's nearest."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mvit2.image.placement import Placement
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime.tasks.segment import upsample
from mvit2.runtime.tasks.segment.upsample import classes_of_logits, classes_of_mask

STRETCH = PreprocessSpec((64, 96), None, (64, 96))
CROP = PreprocessSpec((64, 96), 80)
SIZES = [(96, 64), (333, 77), (31, 45), (6, 4), (1, 1), (200, 3)]  # width, height


def logits(classes: int, height: int = 4, width: int = 6, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(0, 5, (height, width, classes)).astype(np.float32)


def interpolated(scores: np.ndarray[Any, Any], size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """[h, w, classes] -> float64 [height, width, classes] by torch; ``size``: width, height."""
    x = torch.from_numpy(scores).double().permute(2, 0, 1)[None]
    return F.interpolate(x, size=size[::-1], mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cells", [(4, 6), (2, 3), (64, 96), (8, 1)])
@pytest.mark.parametrize("classes", [1, 2, 21])
def test_stretched_pictures_equal_torch(classes: int, cells: tuple[int, int], size: tuple[int, int]) -> None:
    scores = logits(classes, *cells)
    found = classes_of_logits(scores, Placement.of(size, STRETCH))
    expected = interpolated(scores, size)
    assert (found.dtype, found.shape) == (np.uint8, size[::-1])
    lost = expected.max(-1) - np.take_along_axis(expected, found[..., None].astype(int), -1)[..., 0]
    assert lost.max() < 1e-4  # logits go from -20 to 20: float32
    assert np.mean(found == expected.argmax(-1)) > 0.999


@pytest.mark.parametrize("cells", [(4, 6), (64, 96)])
@pytest.mark.parametrize("size", SIZES)
def test_the_weights_are_torch_s(size: tuple[int, int], cells: tuple[int, int]) -> None:
    placement = Placement.of(size, STRETCH)
    for axis, count in ((placement.rows, cells[0]), (placement.columns, cells[1])):
        weights = upsample._weights(axis, axis.seen, count)
        x = torch.eye(count, dtype=torch.float64)[None]  # [1, count, count]: each cell alone
        expected = F.interpolate(x, size=axis.picture, mode="linear", align_corners=False)[0].T
        assert np.abs(weights - expected.numpy()).max() < 1e-6


def test_equal_logits_go_to_the_lower_class() -> None:
    scores = np.zeros((4, 6, 5), np.float32)
    assert not classes_of_logits(scores, Placement.of((50, 40), STRETCH)).any()
    scores[..., 2:4] = 1
    assert (classes_of_logits(scores, Placement.of((50, 40), STRETCH)) == 2).all()


@pytest.mark.parametrize("spec", [STRETCH, CROP], ids=["stretch", "crop"])
def test_tiles_do_not_show(spec: PreprocessSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, placement = logits(7), Placement.of((333, 177), spec)
    mask = np.random.default_rng(1).integers(0, 7, spec.image_size).astype(np.uint8)
    whole = classes_of_logits(scores, placement), classes_of_mask(mask, placement)
    monkeypatch.setattr(upsample, "_COLUMNS", 50)
    monkeypatch.setattr(upsample, "_VALUES", 50 * 7 * 3)
    assert np.array_equal(classes_of_logits(scores, placement), whole[0])
    assert np.array_equal(classes_of_mask(mask, placement), whole[1])


@pytest.mark.parametrize("size", [(192, 128), (320, 192), (64, 64), (96, 64)])  # none has a middle on an edge
def test_masks_take_the_nearest_pixel(size: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).integers(0, 21, STRETCH.image_size).astype(np.uint8)
    found = classes_of_mask(mask, Placement.of(size, STRETCH))
    expected = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    assert found.dtype == np.uint8 and np.array_equal(found, expected)


@pytest.mark.parametrize("size", [(333, 77), (100, 500)])
def test_the_crop_is_undone(size: tuple[int, int]) -> None:
    """Class 1 right of the middle of the network's input, class 0 left: so it is right of the picture's middle."""
    scores = np.zeros((4, 6, 2), np.float32)
    scores[:, 3:, 1], scores[:, :3, 0] = 1, 1
    placement = Placement.of(size, CROP)
    found = classes_of_logits(scores, placement)
    seen = placement.columns.seen
    assert found.shape == (placement.rows.seen.stop - placement.rows.seen.start, seen.stop - seen.start)
    borders = np.argmax(found, axis=1) + seen.start
    assert np.abs(borders - size[0] / 2).max() <= 1


def test_memory_is_bounded() -> None:
    """A picture whose logits would take 323 MB at once."""
    placement = Placement.of((2400, 1600), STRETCH)
    scores = logits(21, 32, 32)
    tracemalloc.start()
    try:
        found = classes_of_logits(scores, placement)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.shape == (1600, 2400) and peak < 80e6


def test_nothing_seen_is_nothing() -> None:
    placement = Placement.of((1, 2), PreprocessSpec((64, 64), 68))
    shapes = [found.shape for found in (classes_of_logits(logits(3, 4, 4), placement),)]
    assert shapes == [(0, 1)] and classes_of_mask(np.zeros((64, 64), np.uint8), placement).shape == (0, 1)
