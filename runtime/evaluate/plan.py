"""An evaluation planned: everything that can be refused is looked at before the first image is opened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mvit2.bundle.manifest import MANIFEST, Artifact, Manifest, read_labels, read_manifest, sha256_of
from mvit2.errors import MissingEngineError, Mvit2Error
from mvit2.image.dataset import PLAIN, Reading
from mvit2.image.masks import ignored
from mvit2.runtime.tasks.bundle_model import open_artifact
from mvit2.runtime.tasks.classify.metrics import Subject
from mvit2.runtime.tasks.picture import File, Truth, size_of
from mvit2.runtime.tasks.table import Metric, metric_of

from .results_file import Header

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Plan:
    """An evaluation that can begin: everything that can be refused has been looked at.

    ``sizes`` are those of the images (tasks.picture.size_of); ``skipped`` are artifacts whose engine is not
    installed, with what to install; ``empty`` class folders without an image.
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
        """Of the images, as the figures call them: relative to the folder, or to that of the CSV file."""
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
            return [self.name(file.path), file.size, sorted(self.ignored), *(["reduced"] if file.reduced else [])]

        pictures = json.dumps(list(zip(self.names, self.sizes, self.truth, strict=True)), default=mask).encode()
        artifacts = tuple(artifact.file.path for artifact in self.artifacts)
        sha256 = hashlib.sha256(pictures).hexdigest()
        return Header(
            sha256_of(self.bundle / MANIFEST), len(self.pictures), sha256, artifacts, self.manifest.class_count
        )


def plan(bundle: Path, source: Path, artifacts: Sequence[str] = (), reading: Reading = PLAIN) -> Plan:
    """Look at everything before the first image is opened.

    Args:
        source: labelled images, as in ``mvit2.image.dataset.labelled_images``; for a segmentation network, images
            with masks, as in ``mvit2.image.masks.labelled_masks``.
        reading: how these labels are to be read.
        artifacts: file names such as "model_float16.tflite"; none stands for all.

    Raises:
        BundleError: no bundle, damaged, or without that artifact.
        UsageError, ImageError: as labelled_images; as labelled_masks and check_masks.
        MissingEngineError: the engine of the only artifact is not installed; Mvit2Error: those of all.
    """
    manifest = read_manifest(bundle)
    labels = read_labels(bundle, manifest)
    wanted = _wanted(manifest, artifacts)
    if manifest.reduce_labels:
        reading = replace(reading, reduce_labels=True)
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


def _wanted(manifest: Manifest, names: Sequence[str]) -> list[Artifact]:
    named = [manifest.artifact(name) for name in names]
    return [artifact for artifact in manifest.artifacts if not named or artifact in named]
