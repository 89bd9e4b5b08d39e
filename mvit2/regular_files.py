"""Files and folders that people name, when they may be anything: pipes and devices, endless files, endless folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .errors import UsageError

__all__ = ["check_regular", "files_below", "read_text"]

_MOST_BYTES = 256 << 20  # of a text file: a list of a million images is half of that
_DEEPEST = 64  # folders inside each other


def check_regular(file: Path, most: int | None = None) -> None:
    """Raises OSError: missing, a folder, or a pipe or device, which may never begin or end; larger than ``most``."""
    found = file.stat()
    if stat.S_ISDIR(found.st_mode):
        raise OSError("it is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is a pipe or a device, not a regular file")
    if most is not None and found.st_size > most:
        raise OSError(f"it has {found.st_size} bytes, accepted are at most {most}")


def read_text(file: Path, encoding: str = "utf-8", most: int = _MOST_BYTES) -> str:
    """All of it. Raises OSError as ``check_regular``, UnicodeDecodeError."""
    check_regular(file, most)
    return file.read_text(encoding=encoding)


def files_below(folder: Path) -> Iterator[Path]:
    """Everything below ``folder``, in subfolders, too, but no real folders. Links are not followed, so nothing loops.

    Raises UsageError: folders more than 64 deep inside each other. What may not be listed is left out.
    """
    waiting = [(folder, 0)]
    while waiting:
        at, depth = waiting.pop()
        if depth > _DEEPEST:
            raise UsageError(f"{folder} holds folders more than {_DEEPEST} deep inside each other; name one of them.")
        try:
            entries = list(os.scandir(at))
        except PermissionError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append((at / entry.name, depth + 1))
            else:
                yield at / entry.name
