"""Which pixels a picture becomes, what the bare network gets, how scores become labels."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

import mvit2
from mvit2.errors import CheckFailed, ImageError, UsageError
from mvit2.image.decode import MAX_PIXELS
from mvit2.image.preprocess import _resize, preprocess, to_pixel_values
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime.tasks.classify.prediction import Prediction, top_k

GOLDEN = Path(__file__).parents[2] / "golden"
PHOTOS = sorted((Path(mvit2.__file__).parent / "photos").glob("*.jpg"))
SPEC = PreprocessSpec((32, 32), 36)
Array = np.ndarray[Any, Any]


def _recorder() -> ModuleType:
    found = importlib.util.spec_from_file_location("record_preprocess", GOLDEN / "record_preprocess.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


recorder = _recorder()
golden = json.loads((GOLDEN / "preprocess.json").read_text(encoding="utf-8"))


# ---- the same pixels as transformers ----


@pytest.mark.parametrize("config", golden["configs"])
def test_pixels_equal_the_recorded_ones(config: str) -> None:
    spec = PreprocessSpec.from_hf(golden["configs"][config], config)
    cases = [case for case in golden["cases"] if case["config"] == config]
    assert len(cases) == len(recorder.SIZES)
    for case in cases:
        pixels = preprocess(recorder.picture(*case["picture"]), spec)
        seen = {
            "shape": list(pixels.shape),
            "centre": pixels[pixels.shape[0] // 2, pixels.shape[1] // 2].tolist(),
            "corner": pixels[0, 0].tolist(),
            "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
        }
        assert seen == {key: case[key] for key in seen}, case["picture"]


def test_the_recorded_pixels_belong_to_the_recorder() -> None:
    assert golden["configs"] == recorder.CONFIGS
    assert golden["command"] == recorder.COMMAND


@pytest.mark.parametrize("config", ["hub", "trained", "small", "padding", "exact"])
@pytest.mark.parametrize("photo", PHOTOS, ids=lambda photo: photo.stem)
def test_photos_equal_transformers_live(photo: Path, config: str) -> None:
    """No importorskip: without transformers this fails, so the comparison cannot vanish unnoticed."""
    spec = PreprocessSpec.from_hf(recorder.CONFIGS[config], config)
    image = Image.open(photo).convert("RGB")
    pixels = preprocess(photo, spec)
    assert np.array_equal(pixels, recorder.transformed_pixels(recorder.CONFIGS[config], image))
    values, expected = to_pixel_values(pixels, spec), recorder.transformed(recorder.CONFIGS[config], image)
    assert values.dtype == expected.dtype == np.float32
    assert np.array_equal(values[0], expected)


def test_five_photos_are_bundled_with_their_licences() -> None:
    assert len(PHOTOS) == 5
    licences = (PHOTOS[0].parent / "LICENSES.md").read_text(encoding="utf-8")
    assert all(f"`{photo.name}`" in licences for photo in PHOTOS)
    assert sum(photo.stat().st_size for photo in PHOTOS) < 500_000


def test_pixels_are_contiguous_writable_and_always_rgb() -> None:
    red = np.zeros((40, 50, 3), np.uint8)
    red[:, :, 0] = 255
    for order in ("RGB", "BGR"):
        pixels = preprocess(red, replace(SPEC, channel_order=order))
        assert pixels.dtype == np.uint8 and pixels.shape == (32, 32, 3)
        assert pixels.flags.c_contiguous and pixels.flags.writeable
        assert pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("shape", [(100_000, 1), (1, 100_000)])
def test_a_hair_is_refused_before_it_is_resized(shape: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="too long and thin") as caught:
        preprocess(np.zeros(shape, np.uint8), PreprocessSpec((256, 256), 288))
    assert "28800000" in str(caught.value) and f"at most {MAX_PIXELS} pixels" in str(caught.value)
    unresized = preprocess(np.ones(shape, np.uint8), PreprocessSpec((256, 256), None))
    assert unresized.sum() == 256 * 3


# ---- the bare network's input, the answer's labels ----


def test_pixel_values() -> None:
    pixels = recorder.picture(4, 6)
    spec = PreprocessSpec((4, 6), None)
    expected = (pixels / 255).astype(np.float32).transpose(2, 0, 1)[None]
    rgb, bgr = to_pixel_values(pixels, spec), to_pixel_values(pixels, replace(spec, channel_order="BGR"))
    assert rgb.dtype == np.float32 and rgb.flags.c_contiguous and rgb.shape == (1, 3, 4, 6)
    assert np.allclose(rgb, expected, rtol=1e-7, atol=0)
    assert np.array_equal(bgr, rgb[:, ::-1])
    assert np.array_equal(to_pixel_values(np.stack([pixels, pixels]), spec), np.concatenate([rgb, rgb]))


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 6, 3)), np.zeros((3, 4, 6), np.uint8), np.zeros((4, 3), np.uint8)],
    ids=lambda a: str(a.shape),
)
def test_pixel_values_refuse(pixels: Array) -> None:
    with pytest.raises(ImageError, match=r"cannot be pixels; accepted: uint8 \[H, W, 3\] or \[N, H, W, 3\]"):
        to_pixel_values(pixels, SPEC)


LABELS = ["ant", "bee", "cat", "dog"]


@pytest.mark.parametrize(
    ("scores", "k", "expected"),
    [
        ([0.1, 0.2, 0.6, 0.1], 2, [("cat", 0.6, 2), ("bee", 0.2, 1)]),
        ([[0.1, 0.2, 0.6, 0.1]], 1, [("cat", 0.6, 2)]),
        ([0.25, 0.25, 0.25, 0.25], 3, [("ant", 0.25, 0), ("bee", 0.25, 1), ("cat", 0.25, 2)]),
        ([1, 3, 1, 3], 99, [("bee", 3.0, 1), ("dog", 3.0, 3), ("ant", 1.0, 0), ("cat", 1.0, 2)]),
        (np.array([0, 255, 1, 2], np.uint8), 2, [("bee", 255.0, 1), ("dog", 2.0, 3)]),
    ],
)
def test_top_k(scores: Any, k: int, expected: list[tuple[str, float, int]]) -> None:
    assert top_k(scores, LABELS, k) == [Prediction(*row) for row in expected]


def test_ties_among_many_classes_keep_their_order() -> None:
    """So many that an unstable sort shuffles them."""
    best = top_k(np.zeros(1000), [str(index) for index in range(1000)], 1000)
    assert [one.index for one in best] == list(range(1000))


@pytest.mark.parametrize(
    ("scores", "k", "error", "wrong"),
    [
        ([0, 0, 0, 0], 0, UsageError, r"top_k is 0, accepted: a whole number from 1 on"),
        ([0, 0, 0, 0], 2.5, UsageError, r"top_k is 2\.5, accepted: a whole number"),
        ([0, 0, 0, 0], "3", UsageError, r"top_k is '3', accepted: a whole number"),
        ([0, 0, 0], 1, UsageError, r"scores of shape \[3\] do not fit 4 labels"),
        (np.zeros((2, 4)), 1, UsageError, r"scores of shape \[2, 4\] do not fit 4 labels"),
        ([0, float("nan"), 0, 0], 1, CheckFailed, r"1 of 4 scores are not finite \(class 1: nan\)"),
        (
            [0, 0, float("inf"), float("-inf")],
            1,
            CheckFailed,
            r"2 of 4 scores are not finite \(class 2: inf\)",
        ),
    ],
)
def test_top_k_refuses(scores: Any, k: int, error: type[Exception], wrong: str) -> None:
    with pytest.raises(error, match=wrong):
        top_k(scores, LABELS, k)


@pytest.mark.skipif(not PIL.__version__.startswith("13."), reason="Pillow's own order of the axes is another")
@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_one_axis_after_the_other_is_pillows_resize(resample: Image.Resampling) -> None:
    """So the pixels are Pillow 13's, whichever version is installed."""
    random = np.random.default_rng(7)
    for _ in range(200):
        (width, height), size = (tuple(int(n) for n in random.integers(1, 400, 2)) for _ in range(2))
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        ours, theirs = (np.array(i) for i in (_resize(image, size, resample), image.resize(size, resample)))
        np.testing.assert_array_equal(ours, theirs, err_msg=f"{width}x{height} to {size}")
