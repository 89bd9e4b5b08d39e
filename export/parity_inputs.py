"""The pictures on which every stage of the chain is compared: real photographs and the extremes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mvit2.image.dataset import PHOTOS
from mvit2.image.decode import load_image
from mvit2.image.preprocess import preprocess
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime.verify.golden import Golden

__all__ = ["PHOTOS", "parity_inputs"]


def parity_inputs(spec: PreprocessSpec) -> Golden:
    """The bundled photographs as ``spec`` makes them, then black, white, checkerboard; nobody has scored them yet."""
    height, width = spec.image_size
    squares = (np.indices((height, width)) // 8).sum(0) % 2 * 255
    pictures: dict[str, NDArray[np.uint8] | None] = {
        photo.stem: np.asarray(load_image(photo)) for photo in sorted(PHOTOS.glob("*.jpg"))
    }
    named = {name: preprocess(picture, spec) for name, picture in pictures.items() if picture is not None}
    named["black"] = np.zeros((height, width, 3), np.uint8)
    named["white"] = np.full((height, width, 3), 255, np.uint8)
    named["checkerboard"] = np.repeat(squares.astype(np.uint8)[..., None], 3, -1)
    return Golden(tuple(named), tuple(map(pictures.get, named)), np.stack(list(named.values())), {})
