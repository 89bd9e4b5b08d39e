"""The programs of all languages, compiled once a session."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from .programs import LANGUAGES, Program, need


@pytest.fixture(scope="session")
def command_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    return functools.cache(lambda name: LANGUAGES[name].make(tmp_path_factory.mktemp("program")))


@pytest.fixture(params=LANGUAGES)
def program(request: pytest.FixtureRequest, command_of: Callable[[str], list[str]], tmp_path: Path) -> Program:
    """Of every language in turn; ``parametrize("program", [...], indirect=True)`` names some."""
    need(request.param)
    return Program(request.param, command_of(request.param), tmp_path)
