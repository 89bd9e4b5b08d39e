"""The images on which every stage of the chain is compared: real photographs, extremes, and some of the user's own.

A comparison proves something only where the network says different things; images are added until it does.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvit2.errors import ImageError
from mvit2.image.dataset import PHOTOS
from mvit2.image.decode import load_image
from mvit2.image.masks import unlabelled_images
from mvit2.image.preprocess import preprocess
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.quantize.calibration import bundled_crops
from mvit2.runtime.verify.golden import Golden

__all__ = ["Answers", "Varied", "parity_inputs", "varied_inputs"]

Answers = Callable[[NDArray[np.uint8]], Sequence[Hashable]]
"""uint8 RGB [N, H, W, 3] -> what the network says of each, such as its first class."""

_LOOKED_AT = 48  # of the user's images
_ADDED = 4  # images at most


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


@dataclass(frozen=True)
class Varied:
    """Images to compare on, which nobody has scored yet, and what the network says of each."""

    images: Golden
    answers: tuple[Hashable, ...]

    @property
    def same(self) -> str | None:
        """What to say where the network's answer is the same for every image; None where it is not."""
        if len(set(self.answers)) > 1:
            return None
        return (
            f"the parity proves NOTHING about the answers: the network says the same of all {len(self.answers)} images "
            "it was compared on, as one does that collapsed or was never trained; look at the checkpoint, and give "
            "--calibration or --eval images of which it says different things."
        )


def varied_inputs(spec: PreprocessSpec, own: Path | None, answers: Answers) -> Varied:
    """``parity_inputs``, and up to four images of which the network says something that it says of none of those.

    They are of the folder ``own``; without one, and where all of ``parity_inputs`` get the same answer, crops of the
    bundled photographs. Only their pixels become part of a bundle.
    """
    images = parity_inputs(spec)
    said = list(answers(images.pixels))
    if own is not None:
        candidates = np.array(list(_of_folder(own, spec)))
    elif len(set(said)) == 1:
        candidates = bundled_crops(spec).fit
    else:
        return Varied(images, tuple(said))
    added: list[NDArray[np.uint8]] = []
    for pixels, answer in zip(candidates, answers(candidates) if len(candidates) else (), strict=True):
        if answer not in said and len(added) < _ADDED:
            said.append(answer)
            added.append(pixels)
    if not added:
        return Varied(images, tuple(said))
    names = (*images.names, *(f"chosen-{i + 1}" for i in range(len(added))))
    pictures = (*images.pictures, *([None] * len(added)))
    pixels = np.concatenate([images.pixels, np.stack(added)])
    return Varied(replace(images, names=names, pictures=pictures, pixels=pixels), tuple(said))


def _of_folder(folder: Path, spec: PreprocessSpec) -> Iterator[NDArray[np.uint8]]:
    found = unlabelled_images(folder)
    for path in found[:: max(1, len(found) // _LOOKED_AT)][:_LOOKED_AT]:
        with suppress(ImageError):
            yield preprocess(path, spec)
