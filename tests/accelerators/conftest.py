"""What the tests of accelerators share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from mvit2.runtime.accelerators.table import Place, parse_places

Placed = Callable[[str], Place]


@pytest.fixture(scope="session")
def faults() -> ModuleType:
    from . import faults

    return faults


@pytest.fixture(scope="session")
def place() -> Placed:
    """A place that can be used here; the test is skipped, and says so, where it cannot."""

    def usable(word: str) -> Place:
        found = parse_places("--on", [word])[0]
        lacking = found.accelerator.missing()
        if lacking is not None:
            pytest.skip(f"NOT PROVEN ON {word.upper()}: {lacking}")
        return found

    return usable


@pytest.fixture
def quantised(int8_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle with int8 files, to damage."""
    return Path(shutil.copytree(int8_bundle, tmp_path / "quantised"))
