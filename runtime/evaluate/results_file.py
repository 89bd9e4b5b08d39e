"""The file that keeps what an evaluation knows so far: one that was interrupted goes on.

A line of JSON for each image, below a first line that says of what: the same bundle, images and artifacts. Numbers
are written so that reading gives them back to the last bit; figures are the same, whether interrupted or not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from io import FileIO
from pathlib import Path
from typing import Any

from mvit2.errors import OutputError, UsageError
from mvit2.runtime.tasks.record import Answer, MaskAnswer, Row
from mvit2.strict_json import decode

__all__ = ["Header", "Progress", "open_progress"]

_OTHER = {  # a field of the header, as messages call it
    "manifest": "another bundle (sha256 of its manifest)",
    "count": "another number of images",
    "pictures": "images of other names, sizes or classes (sha256 of their list)",
    "artifacts": "other artifacts",
    "classes": "another number of classes",
    "mvit2_evaluation": "another version of its format",
}


@dataclass(frozen=True)
class Header:
    """What a progress file is about. The sha256 of ``pictures`` is of their names, sizes and classes."""

    manifest: str  # sha256 of the bundle's manifest, which names that of every file
    count: int
    pictures: str
    artifacts: tuple[str, ...]
    classes: int
    mvit2_evaluation: int = 1  # version of this format

    def fits(self, row: Row[Any]) -> bool:
        artifacts = len(self.artifacts)
        known = all(answer.fits(self.classes, artifacts) for answer in row.answers)
        return 0 <= row.picture < self.count and len(row.answers) in (0, artifacts) and known


class Progress:
    """Rows so far, by image; ``add`` also writes them to the file, if there is one."""

    def __init__(self, rows: Iterable[Row[Any]] = (), path: Path | None = None, stream: FileIO | None = None) -> None:
        self.rows = {row.picture: row for row in rows}
        self._path, self._stream = path, stream

    def add(self, rows: Iterable[Row[Any]]) -> None:
        """Raises OutputError when the disk is full or refuses."""
        rows = list(rows)
        if self._stream is not None:
            with _writing(self._path):
                _write(self._stream, b"".join(_line(row) for row in rows))
        self.rows.update({row.picture: row for row in rows})


@contextmanager
def open_progress(path: Path | None, header: Header, answer: type[Answer | MaskAnswer] = Answer) -> Iterator[Progress]:
    """Begin, or go on where ``path`` ends; its last line may be torn. Without a path nothing is kept.

    ``answer`` is what its rows hold.

    Raises UsageError: the file is something else, or of another bundle, other images or artifacts. OutputError: it
    cannot be written.
    """
    if path is None:
        yield Progress()
        return
    if path.exists() and not path.is_file():  # /dev/full has no end, a pipe no beginning
        raise OutputError(f"{path} is no regular file; name a file for the progress.")
    with _writing(path):
        content = path.read_bytes() if path.exists() else b""
    rows, whole = _read(path, content, header, answer)
    with _writing(path):
        stream = path.open("ab", buffering=0)
    with stream:
        with _writing(path):
            stream.truncate(whole)
            if not whole:
                _write(stream, _line(header))
        yield Progress(rows, path, stream)


def _read(path: Path, content: bytes, header: Header, answer: type) -> tuple[list[Row[Any]], int]:
    """The rows and how many bytes of the file they and the header fill. Raises UsageError."""
    first = _line(header)
    if first.startswith(content):  # nothing yet, or torn within the first line
        return [], len(content) if content == first else 0
    lines = content.splitlines(keepends=True)
    _check_same(path, lines[0], header)
    rows: list[Row[Any]] = []
    for number, line in enumerate(lines[1:], 2):
        try:
            row: Row[Any] = decode(Row, json.loads(line), "row")
            if not line.endswith(b"\n") or not header.fits(row) or {type(a) for a in row.answers} - {answer}:
                raise ValueError("it does not fit the first line")
        except (ValueError, RecursionError) as error:
            if number == len(lines):  # torn when the machine or the process went down
                return rows, len(content) - len(line)
            raise UsageError(
                f"{path} is damaged in line {number} ({error}); accepted: what mvit2 evaluate wrote; remove the file."
            ) from None
        rows.append(row)
    return rows, len(content)


def _check_same(path: Path, line: bytes, header: Header) -> None:
    try:
        found: Header = decode(Header, json.loads(line), "header")
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is no progress file of this mvit2 evaluate; name a new file.") from None
    for field in fields(Header):
        theirs, ours = getattr(found, field.name), getattr(header, field.name)
        if theirs != ours:
            said, asked = (str(list(x) if isinstance(x, tuple) else x) for x in (theirs, ours))
            short = slice(12) if field.name in ("manifest", "pictures") else slice(None)
            raise UsageError(
                f"{path} was begun with {_OTHER[field.name]}: {said[short]}, now {asked[short]}; accepted: the same "
                "bundle, images and artifacts; name another file."
            )


def _line(content: Header | Row[Any]) -> bytes:
    return json.dumps(asdict(content), allow_nan=False).encode() + b"\n"


def _write(stream: FileIO, content: bytes) -> None:
    """All of it, now: nothing waits in a buffer for a process that may not end well."""
    while content:
        content = content[stream.write(content) :]


@contextmanager
def _writing(path: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise OutputError(f"{path} cannot be read or written ({reason}); name another file for the progress.") from None
