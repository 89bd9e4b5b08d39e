"""Jinja as every page, card and app folder here uses it: strict, without stray lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvit2.errors import MissingEngineError

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["environment"]


def environment(folder: Path, filters: Mapping[str, Callable[..., Any]], **options: bool) -> Environment:
    """Of the templates in ``folder``; ``options`` are jinja2.Environment's. Raises MissingEngineError."""
    try:
        import jinja2
    except ModuleNotFoundError:
        raise MissingEngineError("jinja2", "export") from None
    loader, undefined = jinja2.FileSystemLoader(folder), jinja2.StrictUndefined
    made = jinja2.Environment(loader=loader, undefined=undefined, trim_blocks=True, lstrip_blocks=True, **options)  # type: ignore[arg-type]
    made.filters |= filters
    return made
