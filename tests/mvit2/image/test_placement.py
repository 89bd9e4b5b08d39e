"""Where a picture's pixels lie on the network's input, against what the pixels themselves say."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from mvit2.image.placement import Axis, Placement
from mvit2.image.preprocess import preprocess, preprocess_placed
from mvit2.image.preprocess_spec import PreprocessSpec

SIZES = [(640, 480), (480, 640), (97, 33), (1, 1), (3, 2), (1, 2), (5000, 7)]  # width, height
SPECS = {
    "stretch": PreprocessSpec((64, 96), None, (64, 96)),
    "stretch, crop": PreprocessSpec((48, 64), None, (64, 96)),
    "shortest, crop": PreprocessSpec((64, 64), 72),
    "shortest, odd crop": PreprocessSpec((65, 95), 96),
    "smaller than the crop": PreprocessSpec((96, 96), 32),
    "crop alone": PreprocessSpec((64, 64), None),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("size", SIZES)
def test_what_is_seen(size: tuple[int, int], spec: PreprocessSpec) -> None:
    """In exact fractions: the pixels whose middles lie in the crop, and where."""
    placement = Placement.of(size, spec)
    for axis, picture, network in zip((placement.columns, placement.rows), size, spec.image_size[::-1], strict=True):
        assert (axis.picture, axis.network) == (picture, network)
        middles = [Fraction(2 * i + 1, 2) * axis.resized / picture - axis.start for i in range(picture)]
        inside = [i for i, middle in enumerate(middles) if 0 <= middle < network]
        assert list(range(picture))[axis.seen] == inside
        every = axis.on_network(slice(0, picture))
        assert np.abs(every - np.array([float(middle) for middle in middles])).max() < 1e-9
        assert np.array_equal(axis.on_network(axis.seen), every[axis.seen])
        assert list(axis.nearest(axis.seen)) == [int(middles[i]) for i in inside]


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("size", SIZES[:3])
def test_the_pixels_are_there(size: tuple[int, int], spec: PreprocessSpec) -> None:
    """A picture whose red says the column and whose green the row arrives where the placement says."""
    columns, rows = np.meshgrid(*(np.linspace(20, 250, edge) for edge in size))
    picture = np.stack([columns, rows, rows], -1).astype(np.uint8)
    pixels, placement = preprocess_placed(picture, spec)
    assert np.array_equal(pixels, preprocess(picture, spec))
    y, x = (axis.nearest(axis.seen) for axis in (placement.rows, placement.columns))
    seen = picture[placement.rows.seen, placement.columns.seen].astype(int)
    steps = [max(1, axis.picture / axis.resized) * 230 / axis.picture for axis in (placement.columns, placement.rows)]
    off = np.abs(pixels[np.ix_(y, x)].astype(int) - seen)
    inner = off[2:-2, 2:-2] if min(off.shape[:2]) > 8 else off  # an antialiased edge has nothing to average with
    assert inner[..., 0].max() <= 2 * steps[0] + 2 and inner[..., 1].max() <= 2 * steps[1] + 2


def test_a_few_pixels_stretched_far_may_not_be_seen_at_all() -> None:
    axis = Axis(picture=2, resized=1088, network=512)
    assert (axis.start, axis.seen) == (288, slice(1, 1))
