"""A comparison of networks on images that all get the same answer proves nothing: others are chosen, or it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mvit2.export.steps.parity_inputs import Varied, parity_inputs, varied_inputs
from mvit2.image.preprocess_spec import PreprocessSpec

SPEC = PreprocessSpec((64, 64), 64)


def constant(pixels: NDArray[np.uint8]) -> list[int]:
    return [7] * len(pixels)


def redness(pixels: NDArray[np.uint8]) -> list[int]:
    """1 for images that are red all over; none of the bundled is."""
    means = pixels.astype(float).mean((1, 2))
    return [int(red > 200 and green < 50) for red, green, _ in means]


def brightness(pixels: NDArray[np.uint8]) -> list[int]:
    return [int(mean // 16) for mean in pixels.astype(float).mean((1, 2, 3))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, color in enumerate([(0, 0, 0), (250, 0, 0), (240, 5, 5), (0, 0, 255)]):
        Image.new("RGB", (70, 64), color).save(tmp_path / f"{i}.png")
    (tmp_path / "broken.jpg").write_text("no image")
    return tmp_path


def test_the_users_images_are_chosen_where_they_say_more(folder: Path) -> None:
    found = varied_inputs(SPEC, folder, redness)
    images, usual = found.images, parity_inputs(SPEC)
    assert images.names == (*usual.names, "chosen-1") and images.pictures[-1] is None
    assert np.array_equal(images.pixels[: len(usual.pixels)], usual.pixels)
    assert images.pixels[-1, 0, 0].tolist() == [250, 0, 0]
    assert found.answers == tuple(redness(images.pixels))
    assert found.same is None and Varied(usual, tuple(redness(usual.pixels))).same is not None


@pytest.mark.parametrize("own", [True, False])
def test_a_constant_network_is_named(own: bool, folder: Path) -> None:
    found = varied_inputs(SPEC, folder if own else None, constant)
    assert found.images.names == parity_inputs(SPEC).names
    said = found.same
    assert said is not None and "proves NOTHING" in said and f"all {len(found.images.names)} images" in said


def test_without_a_folder_the_bundled_ones_are_enough() -> None:
    found = varied_inputs(SPEC, None, brightness)
    assert found.images.names == parity_inputs(SPEC).names and found.same is None


def test_the_network_sees_every_image_once(folder: Path) -> None:
    seen: list[bytes] = []

    def watched(pixels: NDArray[np.uint8]) -> list[int]:
        seen.extend(image.tobytes() for image in pixels)
        return redness(pixels)

    found = varied_inputs(SPEC, folder, watched)
    assert found.same is None and len(seen) == len(parity_inputs(SPEC).names) + 4
