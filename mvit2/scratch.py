"""Temporary folders and files; what a killed process left there is removed by the next one."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .held_signals import finish, signals_held

__all__ = ["remove_dead", "scratch_folder"]

_PREFIX = "mvit2-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder in the system's place for temporary files, gone after the block. Raises OSError."""
    remove_dead(Path(tempfile.gettempdir()), _PREFIX)
    folder: Path | None = None
    try:
        with signals_held():
            folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        yield folder
    finally:
        finish(lambda: _remove(folder) if folder is not None else None)


def remove_dead(place: Path, prefix: str) -> None:
    """Remove what is called PREFIX, the number of its process, - and a word, where that process of ours is gone.

    A number that another process has now is left for a later time.
    """
    ours = re.compile(re.escape(prefix) + r"(\d+)-\w+")
    if not hasattr(os, "getuid"):
        return
    with suppress(OSError):
        for entry in os.scandir(place):
            named = ours.fullmatch(entry.name)
            if named and entry.stat(follow_symlinks=False).st_uid == os.getuid() and not _lives(int(named[1])):
                _remove(Path(entry.path))


def _remove(left: Path) -> None:
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
