"""Folders of pictures: with labels (to measure accuracy) and without (to calibrate)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from .errors import ImageError, UsageError, did_you_mean

__all__ = ["SUFFIXES", "find_images", "labelled_images"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def find_images(folder: Path) -> list[Path]:
    """Every picture below ``folder`` by its suffix, in the order of their paths. Raises UsageError without any."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name one with pictures ({', '.join(SUFFIXES)}).")
    files = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    found = sorted(p for p in files if not p.name.startswith("."))  # ._cat.jpg is what macOS leaves beside cat.jpg
    if not found:
        raise UsageError(f"{folder} holds no pictures; accepted: {', '.join(SUFFIXES)}, in subfolders, too.")
    return found


def labelled_images(source: Path, labels: Sequence[str]) -> list[tuple[Path, int]]:
    """Pictures with the index of their class.

    Args:
        source: a folder with one folder per class, or a CSV file with the columns path (relative to it) and label.
            A class is called by its label (case and ``_`` for a space do not matter) or its index; where two
            classes have the same label (ImageNet's "crane"), only by its index.
        labels: the class names of the network.

    Raises:
        UsageError: nothing there, or a class that the network does not know, or two that are called alike.
        ImageError: the CSV file names a picture that does not exist.
    """
    classes: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        classes.setdefault(_key(label), []).append(i)
    classes = {str(i): [i] for i in range(len(labels))} | classes

    def number(name: str) -> int:
        found = classes.get(_key(name), [])
        if not found:
            near = did_you_mean(_key(name), classes)
            raise UsageError(f"{source}: {name!r} is none of the network's {len(labels)} classes.{near}")
        if len(found) > 1:
            raise UsageError(f"{source}: {name!r} is the label of the classes {found}; accepted: the index of one.")
        return found[0]

    if source.is_dir():
        pictures = find_images(source)
        loose = [p for p in pictures if p.parent == source]
        if loose:
            raise UsageError(f"{loose[0]} lies in no class folder; accepted: {source}/CLASS/PICTURE, or a CSV file.")
        return [(p, number(p.relative_to(source).parts[0])) for p in pictures]
    return [(path, number(label)) for path, label in _rows(source)]


def _rows(file: Path) -> list[tuple[Path, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{file} cannot be read as CSV ({error}); accepted: a folder of class folders, or CSV."
        ) from None
    if not rows or not {"path", "label"} <= rows[0].keys():
        raise UsageError(f"{file} needs a first line with the columns path and label, and at least one more line.")
    found = [(file.parent / (row["path"] or ""), row["label"] or "") for row in rows]
    for path, _ in found:
        if not path.is_file():
            raise ImageError(f"{file} names {path}, which is no file; accepted: paths relative to {file.parent}.")
    return found


def _key(label: str) -> str:
    return label.strip().replace("_", " ").lower()
