"""What tests need beyond Python and the bundles that they share: a mark for each, given by what a test uses.

A test gets its mark by its fixtures or its folder, so a new one cannot forget it; only where neither tells,
``@pytest.mark.NAME`` stands at the test. ``--quick`` (``make test``) leaves out whatever is marked.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["RESOURCES", "Resource", "Turns", "give_marks", "is_alone", "marks_of", "share_out"]

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
        places=("export/convert/test_half_precision.py", "export/test_widths.py", "quantize/test_bias_correction.py"),
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
    ),
    Resource("timing", "measures times, or keeps all cores busy", alone=True),
    Resource(
        "processes",
        "starts a process of ours for each case: for what its environment does, or beside the one of the tests",
        places=("mvit2/checkpoint/test_hub.py",),
    ),
    Resource("accelerator", "needs a device or a compiler of an accelerator", places=("accelerators",)),
    Resource("emulated", "runs in an emulator of other hardware"),
)


def give_marks(items: list[pytest.Item]) -> None:
    """The resources that a test uses, by its fixtures and its place."""
    for item in items:
        for resource in RESOURCES:
            if resource.is_used_by(item):
                item.add_marker(resource.mark)


# Bundles that several files share, dearest first: the file that stands first makes one, meanwhile others need none.
SHARED_BUNDLES = ("int8_bundle", "demo_bundle")
# Folders whose files share what takes long to make, the programs of every language: they stay on one worker.
TOGETHER = ("app_sources",)
APART = ("app_sources/test_apps.py",)  # of them, whose programs are its own


def share_out(items: list[pytest.Item]) -> None:
    """For workers: tests that share fixtures stay on one, and the longest come first, for an even end.

    Those that are ``alone`` come in a row, so that others wait once.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(_group_of(item)))
    groups: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        groups[_xdist_group(item)].append(item)
    makers = _makers(groups)
    turns = {name: (0, makers.index(name)) if name in makers else _turn_of(group) for name, group in groups.items()}
    items.sort(key=lambda item: turns[_xdist_group(item)])


def _group_of(item: pytest.Item) -> str:
    if is_alone(item):
        return "alone"
    place = item.path.relative_to(TESTS).as_posix()
    return next((room for room in TOGETHER if place.startswith(f"{room}/") and place not in APART), place)


def _makers(groups: Mapping[str, list[pytest.Item]]) -> list[str]:
    """A group that makes each shared bundle, all other than ``alone``, which needs the machine for what it measures."""
    makers: list[str] = []
    for bundle in SHARED_BUNDLES:
        users = (name for name, group in groups.items() if any(bundle in _fixtures_of(item) for item in group))
        makers += [name for name in users if name not in (*makers, "alone")][:1]
    return makers


def _turn_of(group: list[pytest.Item]) -> tuple[int, ...]:
    waits = any(not _fixtures_of(item).isdisjoint(SHARED_BUNDLES) for item in group)
    return (1, not any(map(marks_of, group)), is_alone(group[0]), waits)


def _xdist_group(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    return str(marker.args[0]) if marker else ""


def is_alone(item: pytest.Item) -> bool:
    """Whether no other worker may run a test meanwhile."""
    return any(resource.alone for resource in marks_of(item))


def marks_of(item: pytest.Item) -> list[Resource]:
    """The resources that a test is marked with."""
    return [resource for resource in RESOURCES if item.get_closest_marker(resource.mark)]


class Turns:
    """Hold a test back until it may run: many at a time, or one that needs the whole machine and no other.

    ``run`` names the processes of one pytest. Whoever waits keeps the gate, so that nobody overtakes it for ever. Who
    is alone keeps the room for the next one that is, or two workers would take turns and never work at once.
    """

    def __init__(self, run: str) -> None:
        self._gate, self._room = (_opened(f"mvit2-{run}.{name}") for name in ("gate", "room"))
        self._kept = False

    @contextmanager
    def turn(self, *, alone: bool, next_alone: bool = False) -> Iterator[None]:
        if not (alone and self._kept):
            fcntl.flock(self._gate, fcntl.LOCK_EX)
            fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            yield
        finally:
            self._kept = alone and next_alone
            if not self._kept:
                fcntl.flock(self._room, fcntl.LOCK_UN)


def _opened(name: str) -> int:
    """For as long as the process lives."""
    return os.open(Path(tempfile.gettempdir()) / name, os.O_RDWR | os.O_CREAT)
