"""What native code is busy with, written where another process can read it when this one crashes or hangs.

Engines read files of unknown origin, and a damaged one can end the process or never return. A process that is being
watched notes each call of an engine in memory that it shares with its watcher; without a watcher nothing is noted.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Notes", "native_call", "note_into"]

_HEAD = struct.Struct("<ddi")  # the call's beginning (0: none), the exit code's time (0: none), the exit code
_TEXT = 4000  # bytes of the call's description


class Notes:
    """Memory that a process and those that it forks share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _HEAD.size + _TEXT)

    def begin(self, text: str) -> None:
        encoded = text.encode("utf-8", "replace")[:_TEXT]
        self._memory[_HEAD.size :] = encoded.ljust(_TEXT, b"\0")
        self._memory[:8] = struct.pack("<d", time.monotonic())

    def end(self) -> None:
        self._memory[:8] = bytes(8)

    def leave(self, code: int) -> None:
        """The exit code of a process that has done its work."""
        self._memory[8 : _HEAD.size] = struct.pack("<di", time.monotonic(), code)

    @property
    def call(self) -> tuple[float, str]:
        """When the present call began, in seconds of time.monotonic, and what it is; 0 where there is none."""
        text = bytes(self._memory[_HEAD.size :]).rstrip(b"\0").decode("utf-8", "replace")
        return _HEAD.unpack(self._memory[: _HEAD.size])[0], text

    @property
    def code(self) -> int | None:
        _, left, code = _HEAD.unpack(self._memory[: _HEAD.size])
        return code if left else None


_notes: Notes | None = None


def note_into(notes: Notes) -> None:
    """From now on this process is watched."""
    global _notes
    _notes = notes


@contextmanager
def native_call(verb: str, file: Path) -> Iterator[None]:
    """Around a call of native code that reads ``file`` or runs it; ``verb``: what it does with it, "opening"."""
    if _notes is None:
        yield
        return
    _notes.begin(f"{verb} {file}")
    try:
        yield
    finally:
        _notes.end()
