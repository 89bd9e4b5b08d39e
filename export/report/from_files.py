"""Measurements that a report takes from files: what ``mvit2 bench --json`` and ``mvit2 sensitivity --json`` printed.

They are untrusted input: size, types and values are checked before anything is drawn.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from mvit2.bundle.manifest import Manifest
from mvit2.errors import UsageError
from mvit2.regular_files import read_text
from mvit2.runtime.bench.run import Machine, Measured, Trial
from mvit2.runtime.timing import Latency
from mvit2.strict_json import decode

from .gather import Timing
from .task import BlockNoise

__all__ = ["read_bench", "read_sensitivity"]

T = TypeVar("T")
_MAX_BYTES = 8 << 20
_MOST = 500  # trials, or blocks: more than any network has
_LONGEST_MS = 1e7


def read_bench(file: Path, manifest: Manifest) -> Timing:
    """The results of this bundle's artifacts. Raises UsageError: another file, or results of other models only."""
    make = "mvit2 bench BUNDLE --json > FILE"

    def timing(content: Any) -> Timing:
        trials: tuple[Trial, ...] = decode(tuple[Trial, ...], content["trials"], "trials")
        if not 0 < len(trials) <= _MOST:
            raise ValueError(f"{len(trials)} trials")
        for trial in trials:
            for measured in trial.results:
                _refuse_impossible(measured)
        return Timing(decode(Machine, content["machine"], "machine"), trials)

    found = _read("--bench", file, make, timing)
    trials = (replace(trial, results=_of_bundle(trial, manifest)) for trial in found.trials)
    known = tuple(trial for trial in trials if trial.results)
    if not known:
        held = ", ".join(sorted({m.model for trial in found.trials for m in trial.results})) or "nothing"
        raise UsageError(f"--bench {file} holds {held[:200]}, no artifact of {manifest.name}. Make one with: {make}")
    return replace(found, trials=known)


def read_sensitivity(file: Path) -> tuple[BlockNoise, ...]:
    """Raises UsageError for any other file."""
    names = ("block", "alone_snr_db", "alone_agreement")

    def losses(content: Any) -> tuple[BlockNoise, ...]:
        if not 0 < len(content["blocks"]) <= _MOST:
            raise ValueError(f"{len(content['blocks'])} blocks")
        return tuple(decode(BlockNoise, {n: block[n] for n in names}, "block") for block in content["blocks"])

    return _read("--sensitivity", file, "mvit2 sensitivity --json > FILE", losses)


def _read(option: str, file: Path, make: str, understand: Callable[[Any], T]) -> T:
    try:
        return understand(json.loads(read_text(file, most=_MAX_BYTES)))
    except OSError as error:
        raise UsageError(f"{option} {file} cannot be read ({error.strerror or error}). Make one with: {make}") from None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        said = " ".join(str(error).split())[:100]
        kind = type(error).__name__
        raise UsageError(f"{option} {file} is not what is wanted ({kind}: {said}). Make one with: {make}") from None


def _refuse_impossible(measured: Measured) -> None:
    steps = (measured.inference, measured.preprocessing, measured.postprocessing, measured.end_to_end)
    alone = (measured.alone.load_ms, measured.alone.first_ms)
    if not all(_possible(step) for step in steps if step) or not all(0 < ms < _LONGEST_MS for ms in alone):
        raise ValueError(f"{measured.model}: times that cannot be")
    if (measured.ratio is not None and not 0 < measured.ratio < _LONGEST_MS) or (measured.alone.peak_bytes or 1) < 1:
        raise ValueError(f"{measured.model}: a ratio or a size that cannot be")


def _possible(latency: Latency) -> bool:
    return 0 < latency.min <= latency.median <= latency.p90 <= latency.p99 < _LONGEST_MS


def _of_bundle(trial: Trial, manifest: Manifest) -> tuple[Measured, ...]:
    """The results by the plain names of the bundle's files; a bench of several bundles puts folders before them."""
    by_name = {measured.model: measured for measured in trial.results}
    found = []
    for artifact in manifest.artifacts:
        file = artifact.file.path
        name = next((n for n in by_name if n == file or n.endswith(f"{manifest.name}/{file}")), None)
        if name is not None:
            found.append(replace(by_name[name], model=file, precision=artifact.precision))
    return tuple(found)
