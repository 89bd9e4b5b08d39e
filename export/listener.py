"""Who is told what happens: the command line shows it, a program that exports may stay silent."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

__all__ = ["Listener", "Silent"]


class Listener(Protocol):
    """Is told what happens; the command line shows it."""

    def step(self, title: str) -> AbstractContextManager[None]: ...
    def warn(self, message: str) -> None: ...
    def table(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None: ...


class Silent:
    def step(self, title: str) -> AbstractContextManager[None]:
        return nullcontext()

    def warn(self, message: str) -> None:
        pass

    def table(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        pass
