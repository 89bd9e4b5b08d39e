"""What a bundle's report says, gathered from the manifest and from what is measured for it. No HTML here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mvit2.bundle.manifest import Artifact, Manifest, read_labels, read_manifest
from mvit2.errors import MissingEngineError
from mvit2.export.listener import Listener, Silent
from mvit2.image.dataset import PHOTOS
from mvit2.image.masks import unlabelled_images
from mvit2.quantize.calibration import BUNDLED_ONLY
from mvit2.runtime.bench.models import find_subjects, usable
from mvit2.runtime.bench.run import Machine, Trial, bench, machine
from mvit2.runtime.timing import Bounds
from mvit2.tasks import CLASSIFY, SEGMENT, TaskName

from .classify import CLASSIFICATION
from .segment import SEGMENTATION
from .task import MOST_PICTURES, Accuracy, BlockNoise, Evaluated, Pictured, ReportTask, Row, Source

__all__ = ["REPORT_TASKS", "Report", "Timing", "brief", "example_pictures", "gather", "time_artifacts"]

REPORT_TASKS: Mapping[TaskName, ReportTask] = MappingProxyType(
    {CLASSIFY.manifest: CLASSIFICATION, SEGMENT.manifest: SEGMENTATION}
)
_BRIEF = Bounds(runs=10, warmup=1)


@dataclass(frozen=True)
class Timing:
    """A trial for each number of threads."""

    machine: Machine
    trials: tuple[Trial, ...]

    @property
    def noisy(self) -> tuple[str, ...]:
        """Which trials not to believe, and why."""
        return tuple(f"{t.threads} thread(s): {' and '.join(t.noise.reasons)}" for t in self.trials if t.noise.reasons)


@dataclass(frozen=True)
class Report:
    """Everything the page and the model card show. What was not measured is None or empty.

    ``examples`` and ``worst``: what the task says of images; ``images``: name -> data URI of what it shows of them.
    """

    manifest: Manifest
    labels: tuple[str, ...]
    warnings: tuple[str, ...]
    accuracy: Accuracy | None
    timing: Timing | None
    sensitivity: tuple[BlockNoise, ...]
    examples: tuple[Any, ...]
    worst: tuple[Any, ...]
    images: Mapping[str, str]

    @property
    def task(self) -> ReportTask:
        return REPORT_TASKS[self.manifest.task]

    @property
    def parameters(self) -> int:
        return sum(block.parameters for block in self.manifest.blocks)

    @property
    def macs(self) -> int:
        return sum(block.macs for block in self.manifest.blocks)


def brief(bundle: Path) -> Report:
    """What an export writes: the bundled photographs and a short measurement. Raises Mvit2Error."""
    timing = time_artifacts(bundle, (1,), _BRIEF, Silent(), tries=1)
    return gather(bundle, example_pictures(None), timing=timing)


def example_pictures(folder: Path | None) -> dict[str, Path]:
    """Name -> file: the bundled photographs, or at most 12 of ``folder``, spread over it. Raises UsageError."""
    if folder is None:
        return {photo.name: photo for photo in sorted(PHOTOS.glob("*.jpg"))}
    found = unlabelled_images(folder)
    count = min(MOST_PICTURES, len(found))
    chosen = [found[i * len(found) // count] for i in range(count)]
    return {path.relative_to(folder).as_posix(): path for path in chosen}


def gather(
    bundle: Path,
    pictures: Mapping[str, Path],
    *,
    evaluated: Evaluated | None = None,
    timing: Timing | None = None,
    sensitivity: tuple[BlockNoise, ...] = (),
) -> Report:
    """Put a report together. ``pictures`` are the examples, which the artifacts are asked about.

    Raises BundleError: no bundle, or a damaged one; ImageError: an image that cannot be read.
    """
    manifest = read_manifest(bundle)
    source, task = Source(bundle, manifest, read_labels(bundle, manifest)), REPORT_TASKS[manifest.task]
    examples = task.examples(source, pictures)
    worst = task.worst(source, evaluated) if evaluated else Pictured((), {})
    return Report(
        manifest,
        source.labels,
        _warnings(manifest),
        task.of_evaluation(evaluated) if evaluated else _accuracy_of_export(manifest, task),
        timing,
        sensitivity,
        examples.said,
        worst.said,
        {**examples.images, **worst.images},
    )


def _warnings(manifest: Manifest) -> tuple[str, ...]:
    said = [f"{file} was not verified: {why}." for file, why in manifest.unverified.items()]
    said += manifest.assumptions
    if manifest.weights.name == "untrained":
        said.append("The weights were never trained: sizes and times are real, answers and accuracy mean nothing.")
    if manifest.calibration is not None and manifest.calibration.source == "bundled photographs":
        said.append(BUNDLED_ONLY)
    return tuple(said)


def _accuracy_of_export(manifest: Manifest, task: ReportTask) -> Accuracy | None:
    """What ``mvit2-export --eval`` left in the manifest: every quantised artifact with the float32 one behind it."""
    rows: dict[str, Row | None] = {}
    floats = {a.engine: a for a in reversed(manifest.artifacts) if a.precision == "float32"}  # the first of each
    for artifact in manifest.artifacts:
        fidelity = artifact.quantisation.fidelity if artifact.quantisation else None
        if fidelity is None:
            continue
        reference: Artifact | None = floats.get(artifact.engine)
        if reference is not None:
            rows[reference.file.path] = task.of_export(reference, fidelity.float_accuracy, None)
        rows[artifact.file.path] = task.of_export(artifact, fidelity.accuracy, fidelity)
    known = tuple(row for row in rows.values() if row is not None)
    return Accuracy("images of the export's --eval", known) if known else None


# ---- latency ----


def time_artifacts(
    bundle: Path, threads: Sequence[int], bounds: Bounds, listener: Listener, tries: int = 3
) -> Timing | None:
    """Measure all artifacts that can run here, side by side; None where no engine is installed. Raises BundleError."""
    try:
        subjects, missing, _ = usable(find_subjects([bundle]))
    except MissingEngineError as error:
        listener.warn(f"latency was not measured: {error}")
        return None
    for name, reason in missing.items():
        listener.warn(f"{name} was left out: {reason}")
    trials = []
    for count in threads:
        with listener.step(f"latency: {len(subjects)} models side by side, {count} thread(s)"):
            trials.append(bench(subjects, count, bounds, tries=tries))
    return Timing(machine(), tuple(trials))
