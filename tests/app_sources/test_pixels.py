"""The sources for apps against Python: the same pixels to the last bit, in every language."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mvit2
from mvit2.image.decode import load_image
from mvit2.image.preprocess import preprocess, to_pixel_values
from mvit2.image.preprocess_spec import PreprocessSpec

from .cases import FILTERS, ORDERS, PIXEL_VALUES, SEED, Array, Case, make_case
from .programs import Program

GOLDEN_FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((GOLDEN_FOLDER / "preprocess.json").read_text(encoding="utf-8"))
SPECS = {name: PreprocessSpec.from_hf(config, name) for name, config in GOLDEN["configs"].items()}
PHOTOS = sorted((Path(mvit2.__file__).parent / "photos").glob("*.jpg"))
RANDOM_CASES = 500


def _recorder() -> Any:
    found = importlib.util.spec_from_file_location("record_preprocess", GOLDEN_FOLDER / "record_preprocess.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_golden_pixels(program: Program) -> None:
    """The recorded ones of transformers' own image processor."""
    picture = functools.cache(_recorder().picture)
    cases = [make_case(str(one), picture(*one["picture"]), SPECS[one["config"]]) for one in GOLDEN["cases"]]
    for one, (failed, pixels) in zip(GOLDEN["cases"], program(cases), strict=True):
        assert not failed and hashlib.sha256(pixels).hexdigest() == one["sha256"], one


@functools.cache
def _photo_cases() -> list[tuple[Case, bytes]]:
    images = {photo.stem: np.asarray(load_image(photo)) for photo in PHOTOS}
    pairs = [(f"{stem}, {name}", image, spec) for stem, image in images.items() for name, spec in SPECS.items()]
    return [(make_case(name, image, spec), preprocess(image, spec).tobytes()) for name, image, spec in pairs]


def _size(rng: np.random.Generator, largest: int) -> int:
    """Small ones as often as large ones."""
    return int(np.exp(rng.uniform(0, np.log(largest + 1))))


def _random_picture(rng: np.random.Generator) -> Array:
    shape = (_size(rng, 700), _size(rng, 700), int(rng.integers(3, 5)))
    kind = rng.integers(4)
    if kind == 0:  # black and white, so that bicubic overshoots
        return (rng.integers(0, 2, shape) * 255).astype(np.uint8)
    if kind == 1:  # one colour: the weights must add up
        return np.broadcast_to(rng.integers(0, 256, shape[2]), shape).astype(np.uint8)
    if kind == 2:  # smooth
        rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
        return ((rows * rng.integers(9) + columns)[..., None] // np.arange(1, shape[2] + 1) % 256).astype(np.uint8)
    return rng.integers(0, 256, shape).astype(np.uint8)


def _random_spec(rng: np.random.Generator) -> PreprocessSpec:
    shortest, exact = [(None, None), (_size(rng, 300), None), (None, (_size(rng, 300), _size(rng, 300)))][
        rng.choice(3, p=[0.1, 0.6, 0.3])
    ]
    size = (_size(rng, 300), _size(rng, 300))
    return PreprocessSpec(size, shortest, exact, resample=FILTERS[rng.integers(2)])


@functools.cache
def _random_cases() -> list[tuple[Case, bytes]]:
    made = []
    for index in range(RANDOM_CASES):
        rng = np.random.default_rng([SEED, index])
        picture, spec = _random_picture(rng), _random_spec(rng)
        name = f"default_rng([{SEED}, {index}]): {picture.shape} -> {spec}"
        made.append((make_case(name, picture, spec), preprocess(picture, spec).tobytes()))
    return made


@functools.cache
def _tie_cases() -> list[tuple[Case, bytes]]:
    """Exactly twice as many rows to lose as columns: the last sizes at which the columns are still resized first."""
    spec = PreprocessSpec((9, 9), None, (9, 9))
    made = []
    for fewer in range(9):
        shape = (9 + 2 * fewer, 9 + fewer, 3)
        picture = np.random.default_rng([SEED, fewer]).integers(0, 256, shape).astype(np.uint8)
        made.append((make_case(str(shape), picture, spec), preprocess(picture, spec).tobytes()))
    return made


@pytest.mark.parametrize("pairs", [_photo_cases, _random_cases, _tie_cases], ids=["photos", "random", "ties"])
def test_not_one_byte_differs_from_python(pairs: Callable[[], list[tuple[Case, bytes]]], program: Program) -> None:
    cases = [case for case, _ in pairs()]
    answers = program(cases)
    wrong = [
        f"{case.name}: {message.decode() if failed else _difference(message, expected)}"
        for (failed, message), (case, expected) in zip(answers, pairs(), strict=True)
        if failed or message != expected
    ]
    assert not wrong, f"{len(wrong)} of {len(cases)} cases differ, first {wrong[0]}"


def _difference(found: bytes, expected: bytes) -> str:
    if len(found) != len(expected):
        return f"{len(found)} bytes instead of {len(expected)}"
    a, b = (np.frombuffer(one, np.uint8).astype(int) for one in (found, expected))
    return f"{np.count_nonzero(a != b)} of {a.size} bytes, by up to {np.abs(a - b).max()}"


def test_the_random_cases_are_of_all_kinds() -> None:
    """Else the test above could pass without having tried them."""
    fields = np.array([case.fields[1:11] for case, _ in _random_cases()])  # width, height, channels, ...
    width, height, channels, tall, wide, shortest, exact, exact_width, resample, _ = fields.T
    whole = (shortest == 0) & (exact == 0)
    vertical_first = (exact > 0) & (height - exact > np.maximum(0, 2 * (width - exact_width)))
    padded = (whole & (width < wide)) | ((shortest > 0) & (shortest < np.minimum(tall, wide)))
    for kind in (whole, shortest > 0, exact > 0, vertical_first, padded, resample == 0, channels == 4, width < height):
        assert 20 < np.count_nonzero(kind) < RANDOM_CASES - 20


def test_pixel_values_are_those_of_python(program: Program) -> None:
    pixels = np.random.default_rng(SEED).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    specs = [
        PreprocessSpec((5, 7), None, channel_order=order, scale=scale)
        for order in ORDERS
        for scale in (1 / 255, 1.0, 0.017)
    ]
    answers = program([make_case("values", pixels, spec, what=PIXEL_VALUES) for spec in specs])
    assert answers == [(False, to_pixel_values(pixels, spec).tobytes()) for spec in specs]


def test_mean_and_standard_deviation_are_those_of_python(program: Program) -> None:
    pixels = np.arange(768).astype(np.uint8).reshape(16, 16, 3)  # every value in every channel
    pixels = np.concatenate([pixels, np.roll(pixels, 1, -1), np.roll(pixels, 2, -1)])
    specs = [
        PreprocessSpec(
            (48, 16), None, channel_order=order, scale=scale, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        )
        for order in ORDERS
        for scale in (1 / 255, 1.0)
    ]
    answers = program([make_case("values", pixels, spec, what=PIXEL_VALUES, channels=9) for spec in specs])
    assert answers == [(False, to_pixel_values(pixels, spec).tobytes()) for spec in specs]
