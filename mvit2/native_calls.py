"""What native code is busy with, written where another process can read it when this one crashes or hangs.

Engines read files of unknown origin, and a damaged one can end the process or never return. A process that is being
watched notes each call of an engine in memory that it shares with its watcher; without a watcher nothing is noted.
"""

from __future__ import annotations

import mmap
import struct
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

__all__ = ["Notes", "native_call", "note_into"]

_HEAD = struct.Struct("<ddi")  # the call's beginning (0: none), the exit code's time (0: none), the exit code
_TIME = struct.Struct("<d")
_TEXT = 4000  # bytes of the call's description


class Notes:
    """Memory that a process and those that it forks share."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _HEAD.size + _TEXT)
        self._last: tuple[str, Path] | None = None

    def begin(self, verb: str, file: Path) -> None:
        """Some microseconds, for it is within what ``mvit2 bench`` measures: mostly the same call comes again."""
        if self._last is None or self._last[1] is not file or self._last[0] != verb:
            self._last = verb, file
            self._memory[_HEAD.size :] = f"{verb} {file}".encode("utf-8", "replace")[:_TEXT].ljust(_TEXT, b"\0")
        _TIME.pack_into(self._memory, 0, time.monotonic())

    def end(self) -> None:
        _TIME.pack_into(self._memory, 0, 0.0)

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


class _Call:
    """Made for each call of an engine: a generator's context manager takes ten times as long."""

    __slots__ = ("_file", "_notes", "_verb")

    def __init__(self, notes: Notes, verb: str, file: Path) -> None:
        self._notes, self._verb, self._file = notes, verb, file

    def __enter__(self) -> None:
        self._notes.begin(self._verb, self._file)

    def __exit__(self, *_: object) -> None:
        self._notes.end()


_UNWATCHED: AbstractContextManager[None] = nullcontext()


def native_call(verb: str, file: Path) -> AbstractContextManager[None]:
    """Around a call of native code that reads ``file`` or runs it; ``verb``: what it does with it, "opening"."""
    return _UNWATCHED if _notes is None else _Call(_notes, verb, file)
