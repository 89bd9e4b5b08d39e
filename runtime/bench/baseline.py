"""Compare a bench with an earlier one: by ratios, which mean the same on every machine, and by medians if asked to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvit2.errors import UsageError
from mvit2.regular_files import read_text
from mvit2.strict_json import decode

from .run import Measured

__all__ = ["Before", "Change", "changes", "read_baseline", "require_common", "slower"]

_MAKE = "Make one with: mvit2 bench BUNDLE --json > FILE"


@dataclass(frozen=True)
class Before:
    """What an earlier run said of a model with so many threads; ``median`` of its inference, in milliseconds."""

    model: str
    threads: int
    reference: str | None
    ratio: float | None
    median: float

    def __post_init__(self) -> None:
        if self.median <= 0 or (self.ratio is not None and self.ratio <= 0):
            raise ValueError(f"{self.model}: a time or a ratio of 0 or less")


@dataclass(frozen=True)
class Change:
    """A model then and now. ``ratio`` and ``median`` are now / then; None for the reference, which has no ratio."""

    model: str
    threads: int
    ratio: float | None
    median: float


def read_baseline(file: Path) -> tuple[Before, ...]:
    """The results of a file that ``mvit2 bench --json`` wrote. Raises UsageError for any other file."""
    try:
        content = json.loads(read_text(file))
        return tuple(_before(result) for trial in content["trials"] for result in trial["results"])
    except OSError as error:
        raise UsageError(f"--baseline {file} cannot be read ({error.strerror or error}). {_MAKE}") from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        said = " ".join(str(error).split())[:100]
        raise UsageError(f"--baseline {file} is no bench in JSON ({type(error).__name__}: {said}). {_MAKE}") from None


def _before(result: Any) -> Before:
    wanted = {name: result[name] for name in ("model", "threads", "reference", "ratio")}
    before: Before = decode(Before, {**wanted, "median": result["inference"]["median"]}, "result")
    return before


def require_common(before: Iterable[Before], now: Iterable[tuple[str, int]]) -> None:
    """Raises UsageError when none of ``now`` (model, threads) is among ``before``: nothing could be compared."""
    then, now = {(b.model, b.threads) for b in before}, list(now)
    if not then & set(now):
        raise UsageError(
            f"--baseline has no model in common with this run: it holds {_listed(then)}, this run {_listed(now)}. "
            "Bench the same bundles with the same --threads."
        )


def changes(before: Iterable[Before], now: Iterable[Measured], absolute: bool) -> tuple[Change, ...]:
    """Every model and number of threads that both runs have.

    Raises UsageError: there is none, or none with a ratio to the same reference, where only ratios count.
    """
    then, today = {(b.model, b.threads): b for b in before}, {(m.model, m.threads): m for m in now}
    require_common(then.values(), today)
    common = [(then[key], today[key]) for key in today if key in then]
    found = tuple(Change(m.model, m.threads, _ratio(b, m), m.inference.median / b.median) for b, m in common)
    if not absolute and all(change.ratio is None for change in found):
        raise UsageError(
            f"--baseline has no ratio to the same float32 model for {_listed((c.model, c.threads) for c in found)}; "
            "bench that model, too, or compare times with --absolute."
        )
    return found


def _ratio(before: Before, now: Measured) -> float | None:
    compared = before.ratio is not None and now.ratio is not None and before.reference == now.reference != now.model
    return now.ratio / before.ratio if compared and now.ratio and before.ratio else None


def _listed(keys: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{model} with {threads} thread(s)" for model, threads in sorted(keys)) or "nothing"


def slower(found: Iterable[Change], max_regression: float, absolute: bool) -> tuple[str, ...]:
    """What got slower by more than ``max_regression`` percent, in words.

    Raises UsageError: a percent that cannot be.
    """
    if not 0 <= max_regression < math.inf:
        raise UsageError(f"--max-regression is {max_regression}, accepted: percent, 0 or more.")
    said = []
    for change in found:
        figures = {"ratio to float32": change.ratio, "median": change.median if absolute else None}
        for figure, factor in figures.items():
            if factor is not None and (factor - 1) * 100 > max_regression:
                said.append(f"{change.model} with {change.threads} thread(s): {figure} {factor - 1:+.1%}")
    return tuple(said)
