"""One harness for what the command refuses: a row of a table is arguments, the exit code, and parts of the message."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable

from .command import Run

__all__ = ["Refused", "refuser", "the_error"]

Refused = Callable[..., str]
_STEP = re.compile(r"- .+ \(\d+\.\d s\)")  # of console.Screen.step


def the_error(done: subprocess.CompletedProcess[str], code: int, said: str | Iterable[str]) -> str:
    """The only line of a refusal: on stderr, with nothing on stdout. It must hold every part of ``said``.

    Steps that were done before are told in a log, and are no part of it.
    """
    parts = [said] if isinstance(said, str) else list(said)
    lines = [line for line in done.stderr.splitlines() if line and not _STEP.fullmatch(line)]
    assert (done.returncode, done.stdout) == (code, ""), done.stdout + done.stderr
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    assert [part for part in parts if part not in lines[0]] == [], lines[0]
    return lines[0]


def refuser(run: Run) -> Refused:
    """Runs the command with ``arguments``, which it must refuse; returns the line that it says."""

    def refused(code: int, said: str | Iterable[str], *arguments: object, **options: object) -> str:
        return the_error(run(*arguments, **options), code, said)

    return refused
