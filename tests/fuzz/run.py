"""Cases, each of its own seed: a case is refused in one harmless line, or done; nothing else may happen."""

from __future__ import annotations

import random
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from mvit2.errors import Mvit2Error
from mvit2.visible import visible

from .targets import TARGETS, World

__all__ = ["Found", "run_cases"]

_LONGEST = 20.0  # seconds of a case, on a busy machine


class Hang(BaseException):
    """A case took too long."""


@dataclass
class Found:
    """Counts by kind of input and outcome ("done", "refused", "fault"), and what to say of each fault."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def run_cases(seed: int, numbers: Sequence[int]) -> Found:
    """The cases of these numbers; each is the same whichever others are run."""
    found, names = Found(), list(TARGETS)
    with tempfile.TemporaryDirectory() as place, World.made(Path(place)) as world:
        for number in numbers:
            name = names[number % len(names)]
            outcome, what = _run(seed, number, name, world)
            found.counts[name, outcome] += 1
            if outcome == "fault":
                found.faults.append(f"python -m tests.fuzz --seed {seed} --only {number}  # {name}: {what}")
    return found


def _run(seed: int, number: int, name: str, world: World) -> tuple[str, str]:
    try:
        with _limited():
            TARGETS[name](random.Random(f"{seed}.{number}"), world)
    except Mvit2Error as error:
        return _refused(" ".join(str(error).split()))
    except (Exception, Hang) as error:
        where = "".join(traceback.format_exception(error)[-3:])
        return "fault", f"{type(error).__name__}: {error}\n{where}"
    return "done", ""


def _refused(line: str) -> tuple[str, str]:
    harmless = bool(line) and all(c.isprintable() or c in "\u200c\u200d" for c in visible(line))
    return ("refused", "") if harmless else ("fault", f"an empty or a harmful line: {line!r}")


@contextmanager
def _limited() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise Hang(f"no end in {_LONGEST:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, _LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
