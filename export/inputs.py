"""The pictures on which every stage of the chain is compared: real photographs and the extremes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mvit2
from mvit2.image import preprocess
from mvit2.preprocess_spec import PreprocessSpec

__all__ = ["PHOTOS", "parity_inputs"]

PHOTOS = Path(mvit2.__file__).parent / "photos"


def parity_inputs(spec: PreprocessSpec) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Names, and uint8 RGB [N, H, W, 3] as ``spec`` makes them: the bundled photographs, black, white, checkerboard."""
    height, width = spec.image_size
    squares = (np.indices((height, width)) // 8).sum(0) % 2 * 255
    named = {photo.stem: preprocess(photo, spec) for photo in sorted(PHOTOS.glob("*.jpg"))}
    named["black"] = np.zeros((height, width, 3), np.uint8)
    named["white"] = np.full((height, width, 3), 255, np.uint8)
    named["checkerboard"] = np.repeat(squares.astype(np.uint8)[..., None], 3, -1)
    return tuple(named), np.stack(list(named.values()))
