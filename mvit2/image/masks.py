"""Pictures with masks, which say the class of every pixel: where they lie, and whether they can be what they say."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from mvit2.errors import ImageError, UsageError, did_you_mean
from mvit2.regular_files import read_text

from .dataset import SUFFIXES, Reading, find_images, is_hidden, listed
from .decode import load_mask, upright_size

__all__ = [
    "NO_CLASS",
    "Pair",
    "check_masks",
    "check_size",
    "ignored",
    "labelled_masks",
    "no_pixel",
    "unlabelled_images",
]

NO_CLASS: Final = 255
"""The index of pixels that never count: PASCAL VOC's outlines, the "void" of others."""

Pair = tuple[Path, Path]  # an image, its mask
_LISTS, _MASKS, _PICTURES = "ImageSets/Segmentation", "SegmentationClass", "JPEGImages"
_ADE = ("images", "annotations")
_MASK_FOLDERS = (_MASKS, "SegmentationObject")
_ACCEPTED = (
    f"accepted: NAME.png beside NAME.jpg, a PASCAL VOC folder ({_PICTURES}, {_MASKS}), or a CSV file with path,mask."
)


def ignored(reading: Reading) -> frozenset[int]:
    """The indices whose pixels do not count."""
    return frozenset((NO_CLASS, *reading.ignore))


def labelled_masks(source: Path, reading: Reading) -> list[Pair]:
    """Pictures with their masks, by path; which files are there is all that is looked at.

    Args:
        source: one of
            * a PASCAL VOC folder: each SegmentationClass/NAME.png with JPEGImages/NAME.jpg; with ``reading.split``
              those of ImageSets/Segmentation/SPLIT.txt. Images without a mask are no mistake there: VOC has many.
            * a folder like ADE20K's: images/NAME.jpg and annotations/NAME.png, or in subfolders of the same names, of
              which ``reading.split`` chooses one, such as validation.
            * a folder of NAME.jpg (or another suffix) with NAME.png beside it, in subfolders, too: none alone.
            * a CSV file with the columns path and mask, relative to it.

    Raises:
        UsageError: nothing there, an image or a mask without the other, an unknown split.
        ImageError: the CSV file names an image that does not exist.
    """
    voc = source / _MASKS
    is_voc = voc.is_dir() and (source / _PICTURES).is_dir()
    is_ade = all((source / name).is_dir() for name in _ADE)
    if reading.split is not None and not (is_voc or is_ade):
        raise UsageError(
            f"--split is for a PASCAL VOC folder or one like ADE20K's, {source} is neither: it has no {_PICTURES} or "
            f"{_MASKS}, and no {' or '.join(_ADE)}."
        )
    if is_voc:
        return _of_voc(source, reading.split)
    if is_ade:
        return _of_ade(source, reading.split)
    if source.is_dir():
        return _beside(source)
    return [(picture, source.parent / mask) for picture, mask in listed(source, "mask")]


def _of_voc(root: Path, split: str | None) -> list[Pair]:
    found = [path for path in find_images(root / _PICTURES) if path.parent == root / _PICTURES]
    pictures = {name.name: path for name, path in _named(found).items()}
    masks = {path.stem: path for path in (root / _MASKS).iterdir() if _is_png(path) and path.name[0] != "."}
    names = sorted(masks) if split is None else _split(root, split)
    for name in names:
        for what, folder, held in (("image", _PICTURES, pictures), ("mask", _MASKS, masks)):
            if name not in held:
                raise UsageError(f"{root}/{folder} holds no {what} of {name!r}; {_ACCEPTED}")
    if not names:
        raise UsageError(f"{root}/{_MASKS} holds no masks; {_ACCEPTED}")
    return [(pictures[name], masks[name]) for name in names]


def _of_ade(root: Path, split: str | None) -> list[Pair]:
    folders = [root / name / split if split else root / name for name in _ADE]
    if not all(folder.is_dir() for folder in folders):
        there = sorted(p.name for p in (root / _ADE[0]).iterdir() if p.is_dir() and not is_hidden(p, root))
        near, held = did_you_mean(split or "", there), ", ".join(there) or "no folders"
        raise UsageError(f"--split {split}: {root} has no such folder in {' and '.join(_ADE)}.{near} It has {held}.")
    pictures = {p.relative_to(folders[0]): p for p in _named(find_images(folders[0])).values()}
    masks = {p.relative_to(folders[1]).with_suffix(""): p for p in find_images(folders[1]) if _is_png(p)}
    pairs = [(path, masks.get(name.with_suffix(""))) for name, path in pictures.items()]
    alone = next((path for path, mask in pairs if mask is None), None)
    if alone is not None:
        raise UsageError(f"{folders[1]} holds no mask of {alone.name}; {_ACCEPTED}")
    return [(path, mask) for path, mask in pairs if mask is not None]


def _split(root: Path, split: str) -> list[str]:
    file, folder = root / _LISTS / f"{split}.txt", root / _LISTS
    if not file.is_file():
        there = sorted(path.stem for path in folder.glob("*.txt"))
        known = f"{folder} holds {', '.join(there)}" if there else f"{folder} holds no list"
        raise UsageError(f"--split {split}: {file} is no file.{did_you_mean(split, there)} {known}.")
    try:
        names = [line.strip() for line in read_text(file, "utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read as text ({error}); accepted: an image's name on each line.") from None
    if not names:
        raise UsageError(f"{file} is empty; accepted: an image's name on each line.")
    return sorted(dict.fromkeys(names))


def _beside(folder: Path) -> list[Pair]:
    found = find_images(folder)
    masks = {path.with_suffix(""): path for path in found if _is_png(path)}
    pictures = _named(path for path in found if path.suffix.lower() != ".png")
    for what, some, others, other in (
        ("images", pictures, masks, "mask"),
        ("masks", masks, pictures, f"image ({', '.join(s for s in SUFFIXES if s != '.png')})"),
    ):
        alone = [path for name, path in some.items() if name not in others]
        if alone:
            said = f"{len(alone)} of {len(some)} {what} in {folder} have no {other} of their name"
            raise UsageError(f"{said}, the first: {alone[0]}; {_ACCEPTED}")
    return [(picture, masks[name]) for name, picture in pictures.items()]


def _named(pictures: Iterable[Path]) -> dict[Path, Path]:
    """By their names without suffix. Raises UsageError: two of a name."""
    found: dict[Path, Path] = {}
    for path in pictures:
        other = found.setdefault(path.with_suffix(""), path)
        if other != path:
            raise UsageError(f"{path} and {other.name} would share a mask; {_ACCEPTED}")
    return found


def unlabelled_images(folder: Path) -> list[Path]:
    """As find_images, without masks, which a network must never learn from: images to calibrate on, or to show.

    Masks are NAME.png beside NAME.jpg, and what lies in a PASCAL VOC folder's SegmentationClass or SegmentationObject.
    """
    found = find_images(folder)
    pictures = {path.with_suffix("") for path in found if not _is_png(path)}
    masks = {path for path in found if _is_png(path) and path.with_suffix("") in pictures}
    masks |= {path for path in found if path.relative_to(folder).parts[0] in _MASK_FOLDERS}
    return [path for path in found if path not in masks]


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def check_masks(pairs: Sequence[Pair], classes: int, ignore: frozenset[int], reduced: bool = False) -> None:
    """Look at every mask before an evaluation of them begins: readable, of its image's size, of known classes.

    Masks belong to the upright image, as viewers and labelling tools show it, not to the stored one. An image that
    cannot be read is left for the evaluation to find.

    Raises UsageError: another size, an index that the network does not have, no pixel that counts. ImageError.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counting = list(pool.map(lambda pair: _checked(pair[0], pair[1], classes, ignore, reduced), pairs))
    if not any(counting):
        raise no_pixel(ignore)


def no_pixel(ignore: frozenset[int]) -> UsageError:
    names = ", ".join(map(str, sorted(ignore)))
    return UsageError(f"none of the masks' pixels counts: all are of the ignored indices ({names}) or were not seen.")


def _checked(picture: Path, mask: Path, classes: int, ignore: frozenset[int], reduced: bool) -> int:
    """How many of the mask's pixels count."""
    indices = load_mask(mask, reduced)
    with suppress(ImageError):
        check_size(picture, mask, indices.shape[::-1], upright_size(picture))
    held = np.bincount(indices.reshape(-1), minlength=256)
    unknown = [str(index) for index in held.nonzero()[0] if index >= classes and index not in ignore]
    if unknown:
        shifted = unknown == [str(classes)] and not reduced  # what 1 to classes look like
        todo = "where 0 is no class and k is class k - 1, as in ADE20K: --reduce-labels; " if shifted else ""
        raise UsageError(
            f"{mask} has pixels of index {', '.join(unknown[:5])}, accepted: 0 to {classes - 1}, the network's "
            f"classes, and {NO_CLASS}; {todo}where such pixels are not to count: --ignore {','.join(unknown[:5])}."
        )
    return int(held.sum() - held[list(ignore)].sum())


def check_size(picture: Path, mask: Path, found: tuple[int, int], expected: tuple[int, int]) -> None:
    """Of a mask and its upright image, both (width, height). Raises UsageError."""
    if found != expected:
        turned = ", which EXIF turns: masks belong to the upright image" if found == expected[::-1] else ""
        has, should = (f"{width}x{height}" for width, height in (found, expected))
        raise UsageError(
            f"{mask} has {has} pixels, its image {picture.name} {should}{turned}; accepted: a mask of the image's "
            "size; make it anew, or resize it with nearest neighbours."
        )
