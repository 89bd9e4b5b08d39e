"""What tests need beyond Python and the bundles that they share: a mark for each, given by what a test uses.

A test gets its mark by its fixtures or its folder, so a new one cannot forget it; only where neither tells,
``@pytest.mark.NAME`` stands at the test. ``--quick`` (``make test``) leaves out whatever is marked.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["RESOURCES", "Resource", "give_marks", "marks_of", "share_out", "turn"]

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Resource:
    """A mark. Tests with one that is ``alone`` run while no other worker runs any."""

    mark: str
    what: str
    fixtures: frozenset[str] = frozenset()
    places: tuple[str, ...] = ()  # files or folders below tests/
    alone: bool = False

    def is_used_by(self, item: pytest.Item) -> bool:
        place = item.path.relative_to(TESTS).as_posix()
        by_place = any(place == each or place.startswith(f"{each}/") for each in self.places)
        return by_place or not self.fixtures.isdisjoint(_fixtures_of(item))


def _fixtures_of(item: pytest.Item) -> set[object]:
    """Those that it names, those behind them, and those that a parameter names for ``request.getfixturevalue``."""
    names, callspec = set(getattr(item, "fixturenames", ())), getattr(item, "callspec", None)
    if callspec is None or "request" not in names:
        return names
    return names | {value for value in callspec.params.values() if isinstance(value, str)}


RESOURCES = (
    Resource(
        "exports",
        "makes bundles of its own, seconds to minutes each, or needs the int8 one",
        frozenset({"int8_bundle", "make_bundle"}),
        places=(
            "export/convert/test_to_ort.py",
            "export/test_pipeline.py",
            "export/test_segmentation_export.py",
        ),
    ),
    Resource(
        "heavy",
        "takes CPU seconds for what smaller tests say nearly as well: learned ranges, the larger widths",
        places=("quantize/test_bias_correction.py",),
    ),
    Resource("toolchain", "compiles the sources for apps: C, JavaScript, Kotlin, Swift", places=("app_sources",)),
    Resource("browser", "looks at pages in Chromium", frozenset({"launch"}), ("page",)),
    Resource("ray", "starts Ray clusters", frozenset({"cluster"}), ("runtime/evaluate/test_evaluate_ray.py",), True),
    Resource("mediapipe", "runs MediaPipe without a network", frozenset({"mediapipe"})),
    Resource("wheel", "builds the sdist and the wheel", frozenset({"sdist", "wheel"})),
    Resource(
        "signals",
        "interrupts or kills commands at work",
        places=("export/test_interrupted.py", "runtime/evaluate/test_evaluate_interrupted.py"),
        alone=True,
    ),
    Resource("timing", "measures times, or keeps all cores busy", alone=True),
    Resource("processes", "compares the command in a process of its own with the one in the process of the tests"),
    Resource("accelerator", "needs a device or a compiler of an accelerator", places=("accelerators",)),
    Resource("emulated", "runs in an emulator of other hardware"),
)


def give_marks(items: list[pytest.Item]) -> None:
    """The resources that a test uses, by its fixtures and its place."""
    for item in items:
        for resource in RESOURCES:
            if resource.is_used_by(item):
                item.add_marker(resource.mark)


def share_out(items: list[pytest.Item]) -> None:
    """For workers: a file's tests stay on one, for they share fixtures; the longest files first, for an even end."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(TESTS).as_posix()))
    items.sort(key=lambda item: not marks_of(item))


def marks_of(item: pytest.Item) -> list[Resource]:
    """The resources that a test is marked with."""
    return [resource for resource in RESOURCES if item.get_closest_marker(resource.mark)]


@contextmanager
def turn(run: str, alone: bool) -> Iterator[None]:
    """Hold a test back until it may run: many at a time, or one that needs the whole machine and no other.

    ``run`` names the processes of one pytest. Whoever waits keeps the gate, so that nobody overtakes it for ever.
    """
    folder = Path(tempfile.gettempdir())
    with (folder / f"mvit2-{run}.gate").open("a") as gate, (folder / f"mvit2-{run}.room").open("a") as room:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
