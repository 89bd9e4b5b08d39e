"""The one way to run a module of ours in a process of its own, and to say how that process died.

Converters, compilers and kernels abort, print and hang. In a process of its own that is a fact about a file, and costs
the caller nothing. The module that is run begins with ``start_worker()``; it leaves files whose paths it was given, or
ends with ``give_answer(value)``.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

from .telemetry import no_telemetry

__all__ = ["Ended", "give_answer", "how_it_ended", "printed_so_far", "run_worker", "start_worker"]

_MOST_OUTPUT = 1 << 20  # bytes of each stream that are kept, its last ones
_LONGEST_LINE = 200
_ANSWER = "mvit2-answer: "  # begins the line; libraries print what they like around it


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it printed.

    Attributes:
        status: its exit code; -N where signal N killed it; None where it was stopped after ``limit`` seconds.
        stdout, stderr: the last megabyte of each.
    """

    status: int | None
    limit: float
    stdout: str
    stderr: str

    @property
    def how(self) -> str | None:
        """None where it did what it should; else words that follow "its process"."""
        if self.status is None:
            return f"did not finish in {self.limit:g} s and was stopped"
        return how_it_ended(self.status) if self.status else None

    @property
    def last_line(self) -> str:
        """Of what it printed, to stderr if anything: of a Python program that failed, its exception."""
        lines = [line.strip() for text in (self.stdout, self.stderr) for line in text.splitlines() if line.strip()]
        return lines[-1][:_LONGEST_LINE] if lines else "it printed nothing"

    def answer(self) -> object:
        """What the worker gave with ``give_answer``, whatever else was printed. Raises ValueError: nothing."""
        given = [line for line in self.stdout.splitlines() if line.startswith(_ANSWER)]
        if not given:
            raise ValueError(f"gave no answer: {self.last_line}")
        try:
            answer: object = json.loads(given[-1].removeprefix(_ANSWER))
        except ValueError as error:
            raise ValueError(f"gave half an answer: {error}") from None
        return answer


def how_it_ended(status: int) -> str:
    """In words: an exit code, or -N for signal N.

    >>> how_it_ended(-9), how_it_ended(3)
    ('was killed by SIGKILL, probably out of memory', 'exited 3')
    """
    if status >= 0:
        return f"exited {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"  # a real-time signal has no name
    return f"was killed by {name}{', probably out of memory' if name == 'SIGKILL' else ''}"


def run_worker(
    module: str,
    *arguments: object,
    limit: float,
    folder: Path | None = None,
    environment: Mapping[str, str | None] = MappingProxyType({}),
) -> Ended:
    """Run ``python -m module arguments`` to its end. However that is, it is returned, not raised.

    Whatever interrupts us (Ctrl-C, SIGTERM), and the end of ``limit``, ends the process and all that it has started.

    Args:
        limit: seconds that it may take.
        folder: its working directory, by default ours.
        environment: variables that differ from ours; None removes one.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        with subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(environment),
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        ) as process:
            status = _wait(process, limit)
        return Ended(status, limit, _last_of(stdout), _last_of(stderr))


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    variables = dict(os.environ)
    no_telemetry(variables)
    for name, value in changes.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value
    return variables


def _wait(process: subprocess.Popen[bytes], limit: float) -> int | None:
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()


def _last_of(stream: IO[bytes]) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _MOST_OUTPUT))
    return stream.read().decode(errors="replace")


# ---- in the worker ----


def start_worker() -> None:
    """The first thing that a worker does: from now on it ends when its parent does, however that was killed."""
    no_telemetry()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Standard input is a pipe that nobody writes to: it ends when the parent does."""
    os.read(0, 1)  # sys.stdin would be locked when the interpreter shuts down
    os._exit(1)


def printed_so_far() -> str:
    """What this worker and its libraries have printed until now, to stdout and then to stderr; of each the beginning.

    Compilers and drivers say there why they refuse a file, and nowhere else. ``run_worker`` gives a worker two files to
    print into, which can be read; "" where the process prints into something else.
    """
    sys.stdout.flush()
    said = []
    for stream in (1, 2):
        if stat.S_ISREG(os.fstat(stream).st_mode) and hasattr(os, "pread"):
            said.append(os.pread(stream, _MOST_OUTPUT, 0).decode(errors="replace"))
    return "\n".join(said)


def give_answer(value: object) -> None:
    """``value``, which JSON can hold, to the parent's ``Ended.answer``."""
    print(f"\n{_ANSWER}{json.dumps(value)}", flush=True)
