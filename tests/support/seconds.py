"""What tests cost, by mark: wall and CPU seconds of each test, its fixtures and its child processes included."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

__all__ = ["Costs", "cpu_seconds", "measured"]

_CPU, _MARKS = "cpu_seconds", "resources"


def cpu_seconds() -> float:
    """User and system seconds of this process and of its children that ended."""
    return sum(os.times()[:4])


@contextmanager
def measured(item: pytest.Item, marks: Iterable[str]) -> Iterator[None]:
    """Add the CPU seconds of a phase, and the marks, to what the report carries, also from a worker to its master."""
    before = cpu_seconds()
    yield
    known = dict(item.user_properties)
    seconds = round(float(str(known.get(_CPU, 0))) + cpu_seconds() - before, 3)
    item.user_properties[:] = {**known, _CPU: seconds, _MARKS: " ".join(marks)}.items()


@dataclass
class Cost:
    tests: int = 0
    wall: float = 0.0
    cpu: float = 0.0

    def __str__(self) -> str:
        return f"{self.tests:6} tests {self.wall:8.1f} s {self.cpu:8.1f} CPU s"


class Costs:
    """Adds up the reports of a session."""

    def __init__(self) -> None:
        self.by_mark: defaultdict[str, Cost] = defaultdict(Cost)
        self.by_file: defaultdict[str, Cost] = defaultdict(Cost)
        self._wall: defaultdict[str, float] = defaultdict(float)

    def add(self, report: pytest.TestReport) -> None:
        """The last report of a test has all that was measured."""
        self._wall[report.nodeid] += report.duration
        if report.when != "teardown":
            return
        measured = dict(report.user_properties)
        marks = str(measured.get(_MARKS, "")).split() or ["no mark"]
        for cost in (*(self.by_mark[mark] for mark in marks), self.by_file[report.nodeid.partition("::")[0]]):
            cost.tests += 1
            cost.wall += self._wall[report.nodeid]
            cost.cpu += float(str(measured.get(_CPU, 0)))

    def lines(self, files: int) -> list[str]:
        """A line for each mark, and one for each of the ``files`` that took longest."""
        longest = sorted(self.by_file.items(), key=lambda pair: -pair[1].wall)[:files]
        return [f"{cost}  {name}" for name, cost in (*sorted(self.by_mark.items()), *longest)]
