"""The images on which ranges are learned, and those that are kept apart to choose between methods."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import DEFAULT_SAMPLES, DEFAULT_SEED
from mvit2.bundle.measurements import Calibration
from mvit2.errors import ImageError, UsageError
from mvit2.image.dataset import PHOTOS, unread_images
from mvit2.image.decode import load_image
from mvit2.image.masks import unlabelled_images
from mvit2.image.preprocess import preprocess
from mvit2.image.preprocess_spec import PreprocessSpec

__all__ = ["BUNDLED_ONLY", "FEWEST", "CalibrationSet", "bundled_crops", "calibration_images"]

FEWEST = 32
BUNDLED_ONLY = (
    "int8 is calibrated on crops of the few bundled photographs, which are not what your app will see: its accuracy is "
    "not representative; give --calibration FOLDER with 200 or more of your images."
)
_HELD_OUT = 4  # one image in ...
_CROPS, _SMALLEST_CROP = 64, 0.4  # of the bundled photographs: how many, and their least share of an edge
_SEVERAL = 2
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class CalibrationSet:
    """Pictures as the network sees them, uint8 RGB [N, H, W, 3]; ``record`` goes into the manifest.

    Raises UsageError for images that cannot show what the network's activations look like.
    """

    fit: Pixels
    held_out: Pixels
    record: Calibration

    def __post_init__(self) -> None:
        if all((picture == picture[0, 0]).all() for picture in self.fit):
            raise UsageError(
                f"all {len(self.fit)} calibration images are of one colour; accepted: images of the kind that "
                "the app will see."
            )


def calibration_images(
    folder: Path,
    spec: PreprocessSpec,
    *,
    samples: int = DEFAULT_SAMPLES,
    seed: int = DEFAULT_SEED,
    force: bool = False,
    warn: Callable[[str], None] = lambda message: None,
) -> CalibrationSet:
    """Choose ``samples`` of the images below ``folder`` by ``seed``; unreadable ones and copies are named, replaced.

    Raises UsageError: fewer than 32 usable images (unless ``force``, and never none), or all of one colour.
    """
    fewest = 1 if force else FEWEST
    if samples < fewest or seed < 0:
        raise UsageError(
            f"{samples} samples and seed {seed} cannot be used; accepted: {fewest} samples or more, a seed from 0."
        )
    paths = unlabelled_images(folder)
    unread = ", ".join(f"{count} {suffix}" for suffix, count in unread_images(folder).items())
    if unread:
        warn(f"{folder} holds images of kinds that are not read: {unread}; convert them to JPEG or PNG to use them.")
    order = np.random.default_rng(seed).permutation(len(paths))
    pixels: list[Pixels] = []
    hashes: list[str] = []
    for path in (paths[i] for i in order):
        if len(pixels) == samples:
            break
        try:
            picture = preprocess(path, spec)
        except ImageError as error:
            warn(f"calibration: {error}; left out.")
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in hashes:  # it might be held out and yet have been learned from
            warn(f"calibration: {str(path)!r} is a copy of another image; left out.")
            continue
        pixels.append(picture)
        hashes.append(digest)
    if len(pixels) < fewest:
        advice = "" if force or not pixels else " (or --force, and trust the figures less)"
        raise UsageError(
            f"{folder} has {len(pixels)} usable image(s), accepted: {FEWEST} or more, 200 are better{advice}."
        )
    return _split(np.stack(pixels), Calibration("folder", seed, tuple(hashes), 0))


def bundled_crops(spec: PreprocessSpec, seed: int = DEFAULT_SEED) -> CalibrationSet:
    """Random crops of the few photographs that come with mvit2: enough to run, not to be representative."""
    rng = np.random.default_rng(seed)
    files = sorted(PHOTOS.glob("*.jpg"))
    photos = [load_image(file) for file in files]
    crops = []
    for i in range(_CROPS):
        photo = photos[i % len(photos)]
        width, height = (max(1, int(edge * rng.uniform(_SMALLEST_CROP, 1))) for edge in photo.size)
        left, top = rng.integers(photo.width - width + 1), rng.integers(photo.height - height + 1)
        crops.append(preprocess(photo.crop((int(left), int(top), int(left) + width, int(top) + height)), spec))
    hashes = tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    return _split(np.stack(crops), Calibration("bundled photographs", seed, hashes, 0))


def _split(pixels: Pixels, record: Calibration) -> CalibrationSet:
    """Every fourth image is held out; of a single one (--force) there is nothing to hold out."""
    aside = np.arange(len(pixels)) % _HELD_OUT == 0
    if len(pixels) < _SEVERAL:
        return CalibrationSet(pixels, pixels, record)
    return CalibrationSet(
        pixels[~aside], pixels[aside], Calibration(record.source, record.seed, record.sha256, int(aside.sum()))
    )
