"""What a bundle's report says, gathered from the manifest and from what is measured for it. No HTML here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mvit2.errors import BundleError, MissingEngineError
from mvit2.fidelity import confidence_interval
from mvit2.image import preprocess
from mvit2.manifest import Artifact, Manifest, Precision, read_labels, read_manifest
from mvit2.runtime.bench import Machine, Trial, bench, machine
from mvit2.runtime.figures import Disagreement, Evaluation
from mvit2.runtime.latency import Bounds
from mvit2.runtime.subjects import find_subjects, usable
from mvit2.tasks import CLASSIFY, require_task

from .listener import Listener, Silent
from .report_examples import MOST_PICTURES, Example, data_uri, example_pictures, examples

__all__ = [
    "Accuracy",
    "AccuracyRow",
    "BlockNoise",
    "Evaluated",
    "Report",
    "Timing",
    "brief",
    "gather",
    "time_artifacts",
]

_BRIEF = Bounds(runs=10, warmup=1)


@dataclass(frozen=True)
class AccuracyRow:
    """One artifact on labelled pictures; the intervals are Wilson's 95 % of the share. None: not compared."""

    artifact: str
    precision: Precision
    images: int
    top1: int
    top5: int
    agreement: float | None = None  # share of pictures with float32's first class
    snr_db: float | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.top1 <= self.top5 <= self.images and self.images > 0):
            hits = f"{self.top1} and {self.top5} of {self.images}"
            raise BundleError(f"the accuracy of {self.artifact} is {hits} pictures; export the bundle again.")

    @property
    def top1_interval(self) -> tuple[float, float]:
        return confidence_interval(self.top1, self.images)

    @property
    def top5_interval(self) -> tuple[float, float]:
        return confidence_interval(self.top5, self.images)


@dataclass(frozen=True)
class Accuracy:
    """``evaluation`` is there where the report evaluated by itself; else the figures are those of the export."""

    source: str  # which pictures
    rows: tuple[AccuracyRow, ...]
    evaluation: Evaluation | None = None


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, and the files behind the names of its pictures."""

    source: str
    evaluation: Evaluation
    pictures: Mapping[str, Path]


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
class BlockNoise:
    """One block when it alone is int8, as ``mvit2 sensitivity`` found it."""

    block: str
    alone_snr_db: float
    alone_agreement: float

    def __post_init__(self) -> None:
        named = self.block.isascii() and self.block.isprintable() and 0 < len(self.block) <= 200
        if not (named and 0 <= self.alone_agreement <= 1 and abs(self.alone_snr_db) <= 1000):
            raise ValueError(f"{self.block[:80]!r}: a name, a share or decibels that cannot be")


@dataclass(frozen=True)
class Report:
    """Everything the page and the model card show. What was not measured is None or empty.

    ``images``: picture -> data URI of what the network sees of it.
    """

    manifest: Manifest
    labels: tuple[str, ...]
    warnings: tuple[str, ...]
    accuracy: Accuracy | None
    timing: Timing | None
    sensitivity: tuple[BlockNoise, ...]
    examples: tuple[Example, ...]
    worst: tuple[Disagreement, ...]
    images: Mapping[str, str]

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


def gather(
    bundle: Path,
    pictures: Mapping[str, Path],
    *,
    evaluated: Evaluated | None = None,
    timing: Timing | None = None,
    sensitivity: tuple[BlockNoise, ...] = (),
) -> Report:
    """Put a report together. ``pictures`` are the examples, which the artifacts are asked about.

    Raises BundleError: no bundle, or a damaged one; ImageError: a picture that cannot be read.
    """
    manifest = read_manifest(bundle)
    require_task(CLASSIFY, manifest.task, bundle)
    labels = read_labels(bundle, manifest)
    pixels = {name: preprocess(path, manifest.preprocess) for name, path in pictures.items()}
    worst = tuple(d for d in evaluated.evaluation.worst if _differs(d))[:MOST_PICTURES] if evaluated else ()
    files = {} if evaluated is None else evaluated.pictures
    shown = pixels | {d.picture: preprocess(files[d.picture], manifest.preprocess) for d in worst}
    return Report(
        manifest,
        labels,
        _warnings(manifest),
        _of_evaluation(evaluated) if evaluated else _of_export(manifest),
        timing,
        sensitivity,
        examples(bundle, manifest, labels, pixels),
        worst,
        {name: data_uri(image) for name, image in shown.items()},
    )


def _differs(found: Disagreement) -> bool:
    """The same first class with another probability is no disagreement."""
    return found.reference.index != found.answer.index


def _warnings(manifest: Manifest) -> tuple[str, ...]:
    said = []
    if manifest.weights.name == "untrained":
        said.append("The weights were never trained: sizes and times are real, answers and accuracy mean nothing.")
    if manifest.calibration is not None and manifest.calibration.source == "bundled photographs":
        said.append(
            "int8 was calibrated on crops of the few bundled photographs, which are not what your app will see: its "
            "accuracy is not representative. Export with --calibration FOLDER and 200 or more of your pictures."
        )
    return tuple(said)


# ---- accuracy ----


def _of_evaluation(evaluated: Evaluated) -> Accuracy:
    found = evaluated.evaluation
    rows = (
        AccuracyRow(a.artifact, a.precision, found.images, a.top1, a.top5, a.agreement, a.snr_db)
        for a in found.artifacts
    )
    return Accuracy(evaluated.source, tuple(rows), found)


def _of_export(manifest: Manifest) -> Accuracy | None:
    """What ``mvit2-export --eval`` left in the manifest: every quantised artifact with the float32 one behind it."""
    rows: dict[str, AccuracyRow] = {}
    floats = {a.engine: a for a in reversed(manifest.artifacts) if a.precision == "float32"}  # the first of each
    for artifact in manifest.artifacts:
        fidelity = artifact.quantisation.fidelity if artifact.quantisation else None
        if fidelity is None or fidelity.accuracy is None or fidelity.float_accuracy is None:
            continue
        reference, said = floats.get(artifact.engine), fidelity.float_accuracy
        if reference is not None:
            rows[reference.file.path] = _accuracy_row(reference, (said.images, said.top1, said.top5))
        said = fidelity.accuracy
        found = _accuracy_row(artifact, (said.images, said.top1, said.top5))
        rows[artifact.file.path] = replace(found, agreement=fidelity.agreement, snr_db=fidelity.snr_db)
    return Accuracy("pictures of the export's --eval", tuple(rows.values())) if rows else None


def _accuracy_row(artifact: Artifact, hits: tuple[int, int, int]) -> AccuracyRow:
    return AccuracyRow(artifact.file.path, artifact.precision, *hits)


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
