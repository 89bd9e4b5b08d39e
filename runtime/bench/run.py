"""Models measured side by side, turn by turn in one run, and again where the machine was too noisy."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import Engine
from mvit2.runtime.devices.device import DeviceFacts
from mvit2.runtime.devices.local import LocalDevice
from mvit2.runtime.engines.backend import Backend
from mvit2.runtime.engines.table import open_any
from mvit2.runtime.timing import Bounds, Latency, in_turns, paired_ratio, turn_order
from mvit2.versions import installed

from .cold_start import Alone, measure_alone
from .gemm_peak import MACS
from .models import Pipeline, Subject, prepare
from .noise import Noise, Watch

__all__ = ["Machine", "Measured", "Trial", "bench", "machine"]

_TRIES = 3
_OPENINGS = 6  # where its tensors happen to lie makes a model of 1 ms 8 % faster or slower, until it is opened again
Array = NDArray[Any]
Seconds = NDArray[np.float64]
Opening = Mapping[str, tuple[Seconds, Seconds | None]]  # model -> inference [turns], a bundle's steps [turns, 3]


@dataclass(frozen=True)
class Measured:
    """Milliseconds but where a name says otherwise. ``ratio``: to the reference, of each turn's inferences.

    ``gmac_per_s``: 1e9 multiply-accumulates in a second; ``of_peak``: their share of what a plain matrix product of the
    same engine and precision reaches in the same turns, where one took part.
    """

    model: str
    threads: int
    engine: Engine
    precision: str | None
    turns: int
    inference: Latency
    reference: str | None
    ratio: float | None
    images_per_second: float
    gmac_per_s: float | None
    of_peak: float | None
    preprocessing: Latency | None
    postprocessing: Latency | None
    end_to_end: Latency | None
    alone: Alone


@dataclass(frozen=True)
class Trial:
    """The quietest of ``tries`` runs with so many threads."""

    threads: int
    tries: int
    noise: Noise
    results: tuple[Measured, ...]


@dataclass(frozen=True)
class Machine:
    cpu: str
    cores: int  # that this process may use
    system: str
    versions: Mapping[str, str]  # of mvit2, Python and the engines
    device: DeviceFacts


def machine() -> Machine:
    names = {"mvit2": "mvit2", "onnxruntime": "onnxruntime", "litert": "ai-edge-litert", "numpy": "numpy"}
    found = installed(names.values())
    versions = {"python": platform.python_version()} | {n: found.get(p, "unknown") for n, p in names.items()}
    device = LocalDevice().facts()
    return Machine(device.chip, device.usable_cores, device.system, versions, device)


def bench(
    subjects: Sequence[Subject],
    threads: int,
    bounds: Bounds,
    on_noise: Callable[[Noise], object] = lambda noise: None,
    tries: int = _TRIES,
) -> Trial:
    """Measure all subjects side by side; again, up to ``tries`` times, while the machine is noisy. The quietest counts.

    Args:
        threads: of one inference, 1..128.
        on_noise: called before each repetition.
        tries: 1 or more.

    Raises:
        MissingEngineError, BundleError: a model cannot be opened or run.
    """
    alone = {subject.name: measure_alone(subject.file, threads) for subject in subjects}
    best: Trial | None = None
    for attempt in range(1, tries + 1):
        watch = Watch(threads)
        openings = [
            _opening([subjects[i] for i in turn_order(len(subjects), number)], threads, part)
            for number, part in enumerate(bounds.split(_OPENINGS))
        ]
        noise = watch.noise(np.concatenate([opening[s.name][0] for opening in openings]) for s in subjects)
        if best is None or noise.excess < best.noise.excess:
            results = tuple(_measured(s, threads, openings, alone[s.name]) for s in subjects)
            best = Trial(threads, attempt, noise, results)
        if not noise.reasons or attempt == tries:
            break
        on_noise(noise)
    assert best is not None
    return replace(best, tries=attempt)


def _opening(subjects: Sequence[Subject], threads: int, bounds: Bounds) -> Opening:
    """Open all models in this order, and measure them: inference alone, then a bundle's steps from image to labels.

    One after the other, so that decoding an image does not empty the caches in front of some inferences only.
    """
    opened = {subject.name: open_any(subject.file, threads, in_turns=True) for subject in subjects}
    inputs = {subject.name: prepare(subject, opened[subject.name]) for subject in subjects}
    inference = in_turns({name: [_inference(model, inputs[name])] for name, model in opened.items()}, bounds)
    whole = in_turns({s.name: _steps(s.pipeline, opened[s.name]) for s in subjects if s.pipeline}, bounds)
    return {name: (taken[:, 0], whole.get(name)) for name, taken in inference.items()}


def _inference(model: Backend, inputs: list[Array]) -> Callable[[object], object]:
    return lambda _: model.run_all(inputs)


def _steps(pipeline: Pipeline, model: Backend) -> list[Callable[[Any], Any]]:
    return [pipeline.before, model.run_all, pipeline.after]


def _measured(subject: Subject, threads: int, openings: Sequence[Opening], alone: Alone) -> Measured:
    seconds = np.concatenate([opening[subject.name][0] for opening in openings])
    steps = [whole for opening in openings if (whole := opening[subject.name][1]) is not None]
    whole = np.concatenate(steps) if steps else None
    reference = subject.reference if subject.reference in openings[0] else None
    return Measured(
        model=subject.name,
        threads=threads,
        engine=subject.engine,
        precision=subject.precision,
        turns=len(seconds),
        inference=Latency.of(seconds),
        reference=reference,
        ratio=None if reference is None else _ratio(subject.name, reference, openings),
        images_per_second=1 / float(np.median(seconds)),
        gmac_per_s=None if subject.macs is None else subject.macs / float(np.median(seconds)) / 1e9,
        of_peak=_of_peak(subject, openings),
        preprocessing=None if whole is None else Latency.of(whole[:, 0]),
        postprocessing=None if whole is None else Latency.of(whole[:, 2]),
        end_to_end=None if whole is None else Latency.of(whole.sum(1)),
        alone=alone,
    )


def _of_peak(subject: Subject, openings: Sequence[Opening]) -> float | None:
    if subject.macs is None or subject.limit is None:
        return None
    return subject.macs / MACS / _ratio(subject.name, subject.limit, openings)


def _ratio(name: str, reference: str, openings: Sequence[Opening]) -> float:
    """The geometric mean over the openings of the median of each turn's ratio."""
    ratios = [paired_ratio(opening[name][0], opening[reference][0]) for opening in openings]
    return float(np.exp(np.mean(np.log(ratios))))
