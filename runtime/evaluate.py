"""``mvit2 evaluate``: how good every artifact of a bundle is on labelled pictures, and where it goes wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mvit2.dataset import PLAIN, Reading
from mvit2.errors import BundleError, ImageError, MissingEngineError, Mvit2Error, UsageError, did_you_mean
from mvit2.manifest import MANIFEST, Artifact, Manifest, read_labels, read_manifest, sha256_of
from mvit2.masks import ignored

from .artifact import open_artifact
from .figures import Evaluation, Subject
from .job import File, Job, Picture, Truth, size_of
from .mask_figures import MaskEvaluation
from .metrics import Metric, metric_of
from .noise import usable_cores
from .progress import Header, Progress, Row
from .shards import run_shards
from .shards_ray import run_on_ray

__all__ = ["ENGINES", "Engine", "Plan", "evaluate", "plan"]


class _Runner(NamedTuple):
    """Takes the job, the pictures to do, how many processes (None: its own choice), an address; gives their rows."""

    run: Callable[[Job, Sequence[Picture], int | None, str | None], Generator[list[Row[Any]]]]
    most_processes: int


ENGINES: Mapping[str, _Runner] = {
    "local": _Runner(lambda job, todo, processes, _: run_shards(job, todo, processes), 256),
    "ray": _Runner(run_on_ray, 4096),
}


@dataclass(frozen=True)
class Engine:
    """Where the work is done: "local", by processes of this machine, or "ray", on the Ray cluster at ``address``."""

    name: str = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            near = did_you_mean(self.name, ENGINES)
            raise UsageError(f"the engine is {self.name!r}, accepted: {', '.join(ENGINES)}.{near}")
        if self.address is not None and self.name == "local":
            raise UsageError(f"the address {self.address!r} is of a cluster; accepted with --engine ray only.")


@dataclass(frozen=True)
class Plan:
    """An evaluation that can begin: everything that can be refused has been looked at.

    ``sizes`` are those of the pictures (mvit2.runtime.job.size_of); ``skipped`` are artifacts whose engine is not
    installed, with what to install; ``empty`` class folders without a picture.
    """

    bundle: Path
    manifest: Manifest
    labels: tuple[str, ...]
    artifacts: tuple[Artifact, ...]
    skipped: tuple[tuple[str, str], ...]
    source: Path
    pictures: tuple[Path, ...]
    sizes: tuple[int | None, ...]
    truth: tuple[Truth, ...]
    empty: tuple[str, ...]
    ignored: frozenset[int]

    @property
    def metric(self) -> Metric:
        return metric_of(self.manifest)

    @property
    def names(self) -> list[str]:
        """Of the pictures, as the figures call them: relative to the folder, or to that of the CSV file."""
        return [self.name(p) for p in self.pictures]

    def name(self, file: Path) -> str:
        root = (self.source if self.source.is_dir() else self.source.parent).absolute()
        path = file.absolute()
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(file)

    @property
    def subject(self) -> Subject:
        precisions = {artifact.file.path: artifact.precision for artifact in self.artifacts}
        truth = [self.name(true.path) if isinstance(true, File) else true for true in self.truth]
        return Subject(self.names, truth, self.labels, precisions, self.reference, self.ignored)

    @property
    def reference(self) -> int | None:
        """The place of the artifact that the others are compared with: the first float32 one."""
        return next((i for i, artifact in enumerate(self.artifacts) if artifact.precision == "float32"), None)

    @property
    def header(self) -> Header:
        """What must be the same for an evaluation to go on."""

        def mask(file: File) -> list[Any]:
            return [self.name(file.path), file.size, sorted(self.ignored)]

        pictures = json.dumps(list(zip(self.names, self.sizes, self.truth, strict=True)), default=mask).encode()
        artifacts = tuple(artifact.file.path for artifact in self.artifacts)
        sha256 = hashlib.sha256(pictures).hexdigest()
        return Header(sha256_of(self.bundle / MANIFEST), len(self.pictures), sha256, artifacts, self.manifest.classes)


def plan(bundle: Path, source: Path, artifacts: Sequence[str] = (), reading: Reading = PLAIN) -> Plan:
    """Look at everything before the first picture is opened.

    Args:
        source: labelled pictures, as in ``mvit2.dataset.labelled_images``; for a segmentation network, pictures with
            masks, as in ``mvit2.masks.labelled_masks``.
        reading: how these labels are to be read.
        artifacts: file names such as "model_float16.tflite"; none stands for all.

    Raises:
        BundleError: no bundle, damaged, or without that artifact.
        UsageError, ImageError: as labelled_images; as labelled_masks and check_masks.
        MissingEngineError: the engine of the only artifact is not installed; Mvit2Error: those of all.
    """
    manifest = read_manifest(bundle)
    labels = read_labels(bundle, manifest)
    wanted = _wanted(bundle, manifest, artifacts)
    labelled = metric_of(manifest).read(source, labels, reading)
    usable, skipped = [], []
    for artifact in wanted:
        try:
            open_artifact(bundle, manifest, artifact, 1)
            usable.append(artifact)
        except MissingEngineError as error:
            if len(wanted) == 1:
                raise
            skipped.append((artifact.file.path, str(error)))
    if not usable:
        raise Mvit2Error("no artifact could run here; install an engine: pip install 'mvit2[ort]' or 'mvit2[litert]'.")
    return Plan(
        bundle,
        manifest,
        labels,
        tuple(usable),
        tuple(skipped),
        source,
        labelled.pictures,
        tuple(map(size_of, labelled.pictures)),
        labelled.truth,
        labelled.empty,
        ignored(reading),
    )


def _wanted(bundle: Path, manifest: Manifest, names: Sequence[str]) -> list[Artifact]:
    held = {artifact.file.path: artifact for artifact in manifest.artifacts}
    for name in names:
        if name not in held:
            near = did_you_mean(name, held)
            raise BundleError(f"{bundle} has no artifact {name!r}.{near} It holds: {', '.join(held)}.")
    return [artifact for name, artifact in held.items() if not names or name in names]


def evaluate(
    plan: Plan,
    progress: Progress,
    processes: int | None = None,
    worst: int = 20,
    advance: Callable[[int], None] = lambda pictures: None,
    engine: Engine = Engine(),
) -> Evaluation | MaskEvaluation:
    """Run the artifacts on all pictures that ``progress`` does not know yet. The processes end with this call.

    Args:
        processes: how many work side by side, each on its own copies of the models; None: one for each core.
        worst: how many disagreements are kept.
        advance: called with the number of pictures that were done since.
        engine: where they work. The figures depend neither on it nor on how many they are.

    Raises:
        UsageError: processes not in 1..256 (4096 on Ray), worst below 0; no pixel of the masks counts.
        ImageError: none of the pictures can be read.
        Mvit2Error: a process was killed, a picture was changed; what was done is in ``progress``. CheckFailed: a model
            answers NaN or Inf. And what mvit2.runtime.shards_ray.run_on_ray raises.
    """
    run, most = ENGINES[engine.name]
    if processes is not None and not 1 <= processes <= most:
        raise UsageError(f"processes is {processes}, accepted: 1 to {most}; this machine has {usable_cores()} cores.")
    if worst < 0:
        raise UsageError(f"worst is {worst}, accepted: 0 or more.")
    job = Job(plan.bundle, plan.manifest, plan.artifacts, plan.reference, plan.ignored)
    files = (File(path.absolute(), size) for path, size in zip(plan.pictures, plan.sizes, strict=True))
    pictures = (Picture(i, *known) for i, known in enumerate(zip(files, plan.truth, strict=True)))
    todo = [picture for picture in pictures if picture.index not in progress.rows]
    with closing(run(job, todo, processes, engine.address)) as shards:
        for rows in shards:
            progress.add(rows)
            advance(len(rows))
    rows = list(progress.rows.values())
    if all(row.error is not None for row in rows):
        raise ImageError(f"none of the {len(rows)} pictures in {plan.source} can be read; the first: {rows[0].error}")
    return plan.metric.summarise(plan.subject, rows, worst)
