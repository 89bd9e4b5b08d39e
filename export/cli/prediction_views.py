"""How answers for images are shown: a table for each image, CSV rows as they come, or one JSON object at the end."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from mvit2.errors import ImageError, UsageError, did_you_mean

from .console import screen

__all__ = ["VIEWS", "Shown", "View", "shown_as"]


@dataclass(frozen=True)
class Shown:
    """What is known of one image.

    Attributes:
        image: its name.
        rows: artifact -> (index, label, figure) of each class, the best first.
        content: artifact -> what --json says.
        figure: how a table writes a figure.
        lines: for people, below the tables.
    """

    image: str
    rows: Mapping[str, Sequence[tuple[int, str, float]]]
    content: Mapping[str, object]
    figure: str
    lines: Sequence[str] = ()


Failed = Mapping[str, str]
"""Image -> why it cannot be read; it fills while the answers come."""


@dataclass(frozen=True)
class View:
    """``show`` takes all answers, then what has failed; ``mutes``: nothing else goes to stdout."""

    show: Callable[[Iterable[Shown], Failed], None]
    mutes: bool = False
    as_json: bool = False


def shown_as(word: str) -> View:
    """The view of that name. Raises UsageError with a suggestion."""
    if word not in VIEWS:
        raise UsageError(f"unknown --format {word!r}.{did_you_mean(word, VIEWS)} Choose {', '.join(VIEWS)}.")
    return VIEWS[word]


def _tables(answers: Iterable[Shown], failed: Failed) -> None:
    later: list[str] = []
    for shown in answers:
        _side_by_side(shown)
        later += shown.lines
    for line in later:
        screen.result(line)
    _complain(failed)


def _side_by_side(shown: Shown) -> None:
    """A table of classes, one column for each artifact."""
    figures = {name: {i: shown.figure.format(value) for i, _, value in rows} for name, rows in shown.rows.items()}
    labels = {index: label for rows in shown.rows.values() for index, label, _ in rows}
    cells = [(label, *(some.get(i, "-") for some in figures.values())) for i, label in labels.items()]
    screen.table(shown.image, ("label", *figures), cells)


def _csv(answers: Iterable[Shown], failed: Failed) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("image", "artifact", "rank", "index", "label", "score"))
    for shown in answers:
        for artifact, rows in shown.rows.items():
            for rank, (index, label, value) in enumerate(rows, 1):
                writer.writerow((shown.image, artifact, rank, index, label, f"{value:.6g}"))
        sys.stdout.flush()
    _complain(failed)


def _json(answers: Iterable[Shown], failed: Failed) -> None:
    """Artifact -> image -> answer; with images that cannot be read, ``errors``, too."""
    content: dict[str, dict[str, object]] = {}
    for shown in answers:
        for artifact, answer in shown.content.items():
            content.setdefault(artifact, {})[shown.image] = answer
    _one_alone(failed, answered=bool(content))
    screen.json({**content, "errors": dict(failed)} if failed else content)
    _complain(failed)


def _complain(failed: Failed) -> None:
    """A line on stderr for each image that cannot be read."""
    for reason in failed.values():
        screen.complain(reason)


def _one_alone(failed: Failed, answered: bool) -> None:
    """Raises ImageError where the only image cannot be read: that is the answer."""
    if len(failed) == 1 and not answered:
        raise ImageError(next(iter(failed.values())))


VIEWS: Mapping[str, View] = MappingProxyType(
    {"table": View(_tables), "csv": View(_csv, mutes=True), "json": View(_json, as_json=True)}
)
