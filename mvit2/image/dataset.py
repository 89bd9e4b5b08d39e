"""Folders of images: with labels (to measure accuracy) and without (to calibrate). Those of masks: masks.py."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mvit2.errors import ImageError, UsageError, did_you_mean
from mvit2.regular_files import check_regular, files_below, read_text

__all__ = [
    "PHOTOS",
    "PLAIN",
    "SUFFIXES",
    "Reading",
    "empty_classes",
    "find_images",
    "is_hidden",
    "labelled_images",
    "listed",
    "unread_images",
]

PHOTOS: Final = Path(__file__).parents[1] / "photos"
"""The freely licensed photographs that come with this package."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_UNREAD = (".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jfif", ".jp2", ".jxl", ".svg", ".ppm", ".tga", ".dng")
_NOT_DATA = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
_ID = re.compile(r"n\d{8}")  # WordNet's nouns, after which ImageNet's folders are called
_SPLIT = re.compile(r"[\w-][\w.-]*")
_MOST_CSV_BYTES = 1 << 30
_SYNSETS = "a line such as 'n01440764 tench, Tinca tinca' for each class."


@dataclass(frozen=True)
class Reading:
    """How labels are to be read, as far as a folder does not say it itself.

    Attributes:
        synsets: of classes: a file that says what synset ids mean (labelled_images).
        split: of masks: which list of a PASCAL VOC folder, such as "val" (mvit2.image.masks.labelled_masks).
        reduce_labels: of masks: index 0 is no class and k is class k - 1, as in ADE20K's annotations.
        ignore: of masks: indices whose pixels do not count, beside 255.
    """

    synsets: Path | None = None
    split: str | None = None
    ignore: tuple[int, ...] = ()
    reduce_labels: bool = False

    def __post_init__(self) -> None:
        wrong = next((index for index in self.ignore if not 0 <= index <= 255), None)
        if wrong is not None:
            raise UsageError(f"--ignore names the index {wrong}, accepted: 0 to 255, the values that a mask can have.")
        if self.split is not None and not _SPLIT.fullmatch(self.split):
            raise UsageError(f"--split is {self.split!r}, accepted: the plain name of a list, such as val.")


PLAIN: Final = Reading()


def find_images(folder: Path) -> list[Path]:
    """Every image below ``folder`` by its suffix, in the order of their paths. Raises UsageError without any."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name one with images ({', '.join(SUFFIXES)}).")
    files = (
        p for p in files_below(folder) if p.suffix.lower() in SUFFIXES and not is_hidden(p, folder) and p.is_file()
    )
    found = sorted(files)
    if not found:
        others = ", ".join(f"{count} {suffix}" for suffix, count in unread_images(folder).items())
        held = f" that can be read, only {others}" if others else ""
        raise UsageError(f"{folder} holds no images{held}; accepted: {', '.join(SUFFIXES)}, in subfolders, too.")
    return found


def is_hidden(path: Path, folder: Path) -> bool:
    """What nobody put below ``folder`` as data: .ipynb_checkpoints/, ._cat.jpg of macOS beside cat.jpg, __MACOSX/."""
    return any(part.startswith(".") or part in _NOT_DATA for part in path.relative_to(folder).parts)


def unread_images(folder: Path) -> dict[str, int]:
    """Images below ``folder`` of kinds that are not read: suffix -> how many."""
    if not folder.is_dir():
        return {}
    found = (p for p in files_below(folder) if p.suffix.lower() in _UNREAD and not is_hidden(p, folder))
    return dict(sorted(Counter(p.suffix.lower() for p in found).items()))


def labelled_images(source: Path, labels: Sequence[str], synsets: Path | None = None) -> list[tuple[Path, int]]:
    """Pictures with the index of their class.

    Args:
        source: a folder with one folder per class, or a CSV file with the columns path (relative to it) and label.
            A class is called by its label (case and ``_`` for a space do not matter) or its index; where two
            classes have the same label (ImageNet's "crane"), only by its index.
        labels: the class names of the network.
        synsets: a file such as ImageNet's LOC_synset_mapping.txt, with a line ``n01440764 tench, Tinca tinca`` for
            each class; then a class is called by its id, too. A name may be an index. A file that names the
            network's classes in their order tells classes with the same label apart.

    Raises:
        UsageError: nothing there, or a class that the network does not know, or two that are called alike.
        ImageError: the CSV file names an image that does not exist.
    """
    classes: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        classes.setdefault(_key(label), []).append(i)
    classes = {str(i): [i] for i in range(len(labels))} | classes
    ids = {} if synsets is None else _read_synsets(synsets)
    classes = _indices_of_ids(ids, labels, classes) | classes

    def number(name: str) -> int:
        found = classes.get(_key(name), [])
        if not found:
            near = _about_id(name, ids, synsets) or did_you_mean(_key(name), classes)
            raise UsageError(f"{source}: {name!r} is none of the network's {len(labels)} classes.{near}")
        if len(found) > 1:
            raise UsageError(f"{source}: {name!r} is the label of the classes {found}; accepted: the index of one.")
        return found[0]

    if source.is_dir():
        pictures = find_images(source)
        loose = [p for p in pictures if p.parent == source]
        if loose:
            raise UsageError(f"{loose[0]} lies in no class folder; accepted: {source}/CLASS/IMAGE, or a CSV file.")
        return [(p, number(p.relative_to(source).parts[0])) for p in pictures]
    return [(path, number(label)) for path, label in listed(source, "label")]


def empty_classes(source: Path, pictures: Iterable[Path]) -> list[str]:
    """The class folders of ``source`` in which none of the ``pictures`` lies; of a CSV file none."""
    if not source.is_dir():
        return []
    used = {p.relative_to(source).parts[0] for p in pictures}
    return sorted(p.name for p in source.iterdir() if p.is_dir() and p.name not in used and not is_hidden(p, source))


def _read_synsets(file: Path) -> dict[str, list[str]]:
    """id -> what it is called: all its names as one, then each. Raises UsageError."""
    try:
        lines = read_text(file, "utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read as text ({error}); accepted: {_SYNSETS}") from None
    ids: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        words = line.split(maxsplit=1)
        if not words:
            continue
        if len(words) < 2 or _key(words[0]) in ids:
            wrong = "has no name" if len(words) < 2 else "is there twice"
            raise UsageError(f"{file}: line {number}, {line[:60]!r}, {wrong}; accepted: {_SYNSETS}")
        ids[_key(words[0])] = [_key(name) for name in (words[1], *words[1].split(","))]
    if not ids:
        raise UsageError(f"{file} is empty; accepted: {_SYNSETS}")
    return ids


def _indices_of_ids(
    ids: Mapping[str, Sequence[str]], labels: Sequence[str], classes: Mapping[str, list[int]]
) -> dict[str, list[int]]:
    """The classes behind each id; none of an id that the network does not know."""
    if len(ids) == len(labels) and all(_key(x) in (i, *ids[i]) for x, i in zip(labels, ids, strict=True)):
        return {synset: [i] for i, synset in enumerate(ids)}
    return {synset: next((classes[n] for n in names if n in classes), []) for synset, names in ids.items()}


def _about_id(name: str, ids: Mapping[str, Sequence[str]], synsets: Path | None) -> str:
    """What to do about an id that means nothing to the network."""
    if _key(name) in ids:
        return f" {synsets} calls it {ids[_key(name)][0]!r}: give it the label or the index of the network's class."
    if not _ID.fullmatch(name):
        return ""
    return f" Name it in {synsets}." if synsets else " Say what ids mean: --synsets FILE."


def listed(file: Path, column: str) -> list[tuple[Path, str]]:
    """The images that a CSV file names in the column path, and what ``column`` says. Raises as labelled_images."""
    try:
        check_regular(file, _MOST_CSV_BYTES)
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            reader.fieldnames = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{file} cannot be read as CSV ({error}); accepted: a folder of labelled images, or CSV."
        ) from None
    if not rows or not {"path", column} <= rows[0].keys():
        raise UsageError(f"{file} needs a first line with the columns path and {column}, and at least one more line.")
    found = [(file.parent / (row["path"] or "").strip(), (row[column] or "").strip()) for row in rows]
    for path, _ in found:
        if not path.is_file():
            raise ImageError(f"{file} names {path}, which is no file; accepted: paths relative to {file.parent}.")
    return found


def _key(label: str) -> str:
    """As a person reads it: case, blanks, ``_`` and ``-``, and how Unicode spells an accent, make no difference."""
    return " ".join(re.sub(r"_|(?<=\w)-(?=\w)", " ", unicodedata.normalize("NFC", label)).casefold().split())
