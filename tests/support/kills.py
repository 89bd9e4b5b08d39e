"""Processes killed at random moments, and at each step, of replacing a folder: is it always whole, is anything left?

``python -m tests.support.kills --signal SIGKILL --count 500 --seed 1`` prints what it found as JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mvit2.atomic_write import write_text
from mvit2.export import atomic, swap
from mvit2.export.cli.interrupt import Interrupted, install
from mvit2.scratch import scratch_folder

FILES = ("manifest.json", "model.onnx", "labels.txt", "golden/cat.png", "golden/golden.json")
LONGEST = 0.02  # seconds; a folder is replaced in two or three thousandths


def build(target: Path, content: str) -> None:
    """What an export does at its ends: refuse early, make everything aside, take the place of what is there."""
    atomic.check_target(target, overwrite=True)
    with atomic.under_construction(target) as building, scratch_folder() as scratch:
        (building / "golden").mkdir()
        for name in FILES:
            write_text(scratch / "part", content)
            write_text(building / name, content * 100)


def content_of(target: Path) -> str:
    """What all files of a whole folder hold. Raises AssertionError: it is not whole."""
    found = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}
    assert sorted(found) == sorted(FILES) and len(set(found.values())) == 1, sorted(found)
    return found[FILES[0]]


def forked(work: Callable[[int], None]) -> tuple[int, int]:
    """A process at ``work``, and the end of a pipe that says when it has begun; ``work`` is given the other."""
    said, says = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(said)
        code = 99
        try:
            install()
            work(says)
        except Interrupted as error:
            code = 128 + error.number
        finally:
            gc.collect()  # as Python does at its end: it closes what the interrupt has met on its way in or out
            os._exit(code)
    os.close(says)
    return child, said


def rebuild_for_ever(target: Path) -> Callable[[int], None]:
    def work(says: int) -> None:
        os.write(says, b".")
        for number in range(10**9):
            build(target, f"new {number} ")

    return work


def rebuild_until(target: Path, number: signal.Signals, step: int) -> Callable[[int], None]:
    """One build in which the signal comes before the ``step``-th thing that Python asks the system for."""

    def work(says: int) -> None:
        left = [step]

        def count(event: str, _: Any) -> None:
            if event.startswith(("os.", "shutil.", "ctypes.", "open", "fcntl.", "tempfile.")):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), number)

        sys.addaudithook(count)
        os.write(says, b".")
        build(target, "new 0 ")
        os._exit(100)  # it came to its end before that step

    return work


def trial(target: Path, number: signal.Signals, work: Callable[[int], None], seconds: float | None) -> Counter[str]:
    """One process, killed; what was wrong with what it left, and after the next run."""
    found: Counter[str] = Counter()
    child, said = forked(work)
    os.read(said, 1)
    os.close(said)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, number)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found["ended before"] += status == 100
    if number is signal.SIGTERM:
        found["wrong exit code"] += status not in (143, 100)
        found["lost"] += not is_whole(target)
        found["left"] += bool(beside(target))
    else:
        found["put aside"] += not target.exists()
    atomic.check_target(target, overwrite=True)
    with scratch_folder():
        pass
    found["lost"] += not is_whole(target)
    found["left after the next run"] += bool(beside(target))
    return found


def is_whole(target: Path) -> bool:
    with suppress(AssertionError, OSError):
        return bool(content_of(target))
    return False


def beside(target: Path) -> list[Path]:
    temporary = Path(tempfile.gettempdir())
    return [path for path in (*target.parent.iterdir(), *temporary.iterdir()) if path not in (target, temporary)]


def main(words: list[str] | None = None) -> Counter[str]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signal", default="SIGKILL", choices=("SIGKILL", "SIGTERM"))
    parser.add_argument("--count", type=int, default=40, help="0: one at each step instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--renames", action="store_true", help="as where no single step exchanges two folders")
    chosen = parser.parse_args(words)
    number = signal.Signals[chosen.signal]
    if chosen.renames:
        swap._exchanged = lambda one, other: False
    found: Counter[str] = Counter()
    draw = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "out" / "bundle"
        target.parent.mkdir()
        tempfile.tempdir = str(target.parent / "tmp")
        Path(tempfile.tempdir).mkdir()
        build(target, "old ")
        for index in range(chosen.count or 1000):
            seconds = draw.random() * LONGEST if chosen.count else None
            work = rebuild_for_ever(target) if chosen.count else rebuild_until(target, number, index + 1)
            one = trial(target, number, work, seconds)
            found += one
            found["trials"] += 1
            if one["ended before"]:
                break
        tempfile.tempdir = None
    return found


if __name__ == "__main__":
    print(json.dumps(dict(main())))
