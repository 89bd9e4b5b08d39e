"""Commands that give files to native code do so in a forked process: what kills or stops it costs one line.

A fork, not a new interpreter (mvit2/worker_process.py): the command goes on with the terminal, the arguments and the
signals that it has, and a millisecond is all that it costs. Where a process cannot be forked, it runs as it is.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from io import FileIO, TextIOWrapper
from types import FrameType
from typing import IO, Any

import typer

from mvit2.errors import BundleError
from mvit2.held_signals import INTERRUPTS
from mvit2.native_calls import Notes, note_into
from mvit2.worker_process import how_it_ended

__all__ = ["guarded", "in_this_process", "leave"]

_LONGEST_CALL = 300.0  # seconds that an engine may take to open a file, or for one run
_TICK = 1.0
_LONGEST_LINE = 160
_ENGINES = ("onnxruntime", "ai_edge_litert", "torch", "tensorflow")  # their threads do not survive a fork
_forks = True
_notes: Notes | None = None  # in the forked process


@contextmanager
def in_this_process() -> Iterator[None]:
    """Let commands run where they are called, as tests need it."""
    global _forks
    before, _forks = _forks, False
    try:
        yield
    finally:
        _forks = before


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command in a process of its own.

    Raises BundleError: it was killed by a signal, or an engine did not return; typer.Exit with its exit code.
    """

    @wraps(command)
    def run(**values: Any) -> None:
        if _can_fork():
            _fork()
        command(**values)

    return run


def leave(code: int) -> None:
    """The end of a command; in a forked process of all, whatever native code would still do on its way out."""
    if _notes is not None:
        _notes.leave(code)
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _can_fork() -> bool:
    fresh = threading.active_count() == 1 and not any(name in sys.modules for name in _ENGINES)
    return _forks and fresh and hasattr(os, "fork")


def _fork() -> None:
    """Returns in the forked process alone; in this one it ends as that one did."""
    global _notes
    notes, printed = Notes(), tempfile.TemporaryFile()  # noqa: SIM115  both processes use it to their end
    ours, theirs = os.pipe()  # each end is held by one process, and closes however that one ends
    child_waits, parent_holds = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed by who started us
            stream.flush()
    child = os.fork()
    if child == 0:
        os.close(ours)
        os.close(parent_holds)
        threading.Thread(target=_end_with, args=(child_waits,), daemon=True).start()
        _apart_from_native_stderr(printed)
        note_into(notes)
        _notes = notes
        return
    os.close(theirs)
    os.close(child_waits)
    with _forwarded(child):
        stopped = _watch(child, ours, notes)
        _, status = os.waitpid(child, 0)
    _end_as(os.waitstatus_to_exitcode(status), stopped, notes, printed)


def _end_with(pipe: int) -> None:
    """This process ends when the one before it does, however that was killed."""
    os.read(pipe, 1)
    os._exit(1)


def _apart_from_native_stderr(printed: IO[bytes]) -> None:
    """Libraries print into a file; Python's stderr stays what it was."""
    if sys.stderr is None:
        return
    said = os.dup(2)
    os.dup2(printed.fileno(), 2)
    sys.stderr = TextIOWrapper(
        FileIO(said, "w"), encoding=sys.stderr.encoding, errors="backslashreplace", line_buffering=True
    )


@contextmanager
def _forwarded(child: int) -> Iterator[None]:
    """Signals are the command's: it ends in its own way, and we as it did."""

    def forward(number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    before = {each: signal.getsignal(each) for each in INTERRUPTS}
    for each, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(each, forward)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _watch(child: int, pipe: int, notes: Notes) -> bool:
    """Wait for the process to end; True where it had to be stopped, since one call of native code did not return."""
    begun, seconds = 0.0, 0.0
    while True:
        before = time.monotonic()
        if select.select([pipe], [], [], _TICK)[0]:
            return False
        now, _ = notes.call
        # Not the clock: it goes on while both processes are suspended.
        seconds = seconds + min(time.monotonic() - before, 2 * _TICK) if now and now == begun else 0.0
        begun = now
        if seconds > _LONGEST_CALL:
            os.kill(child, signal.SIGKILL)
            return True


def _end_as(status: int, stopped: bool, notes: Notes, printed: IO[bytes]) -> None:
    if notes.code is not None:
        raise typer.Exit(notes.code)
    _, call = notes.call
    during = f"{call}: " if call else ""
    todo = "the file is damaged, or made for another version of its engine: check or replace it."
    if stopped:
        raise BundleError(f"{during}it did not end in {_LONGEST_CALL:g} s and was stopped; {todo}")
    if status < 0:
        raise BundleError(f"{during}the process {how_it_ended(status)}{_last_line(printed)}; {todo}")
    raise typer.Exit(status)


def _last_line(printed: IO[bytes]) -> str:
    printed.seek(max(0, printed.seek(0, os.SEEK_END) - 4096))
    lines = [line.strip() for line in printed.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return f" ({lines[-1][:_LONGEST_LINE]})" if lines else ""
