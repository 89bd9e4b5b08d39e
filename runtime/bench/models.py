"""What ``mvit2 bench`` measures: the artifacts of bundles with their images, other models with random inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import Engine, Manifest, precision_named, read_labels, read_manifest, verified_artifact
from mvit2.errors import BundleError, MissingEngineError, UsageError, did_you_mean
from mvit2.image.dataset import PHOTOS
from mvit2.image.decode import load_image
from mvit2.image.placement import Placement
from mvit2.image.preprocess import preprocess, to_pixel_values
from mvit2.runtime.engines.backend import Backend
from mvit2.runtime.engines.random_inputs import random_inputs
from mvit2.runtime.engines.table import ENGINES, open_any
from mvit2.runtime.tasks.classify.prediction import top_k
from mvit2.runtime.tasks.compare import log_softmax
from mvit2.runtime.tasks.segment.segmenter import on_picture
from mvit2.tasks import CLASSIFY, SEGMENT, TaskName

from .gemm_peak import MACS, write_product

__all__ = ["Pipeline", "Subject", "chosen", "find_subjects", "prepare", "usable", "with_products"]

PHOTO = PHOTOS / "coffee.jpg"
Array = NDArray[Any]


@dataclass(frozen=True)
class Pipeline:
    """What a bundle puts around its models: image -> input, output -> labels, or a mask on the image."""

    manifest: Manifest
    labels: tuple[str, ...]

    def before(self, _: object = None) -> list[Array]:
        pixels = preprocess(PHOTO, self.manifest.preprocess)
        return [pixels[None] if self.manifest.io == "image" else to_pixel_values(pixels, self.manifest.preprocess)]

    def after(self, outputs: list[Array]) -> object:
        return _AFTER[self.manifest.task](self, outputs[0])


def _best_classes(pipeline: Pipeline, output: Array) -> object:
    scores = output if pipeline.manifest.io == "image" else np.exp(log_softmax(output))
    return top_k(scores, pipeline.labels)


def _mask_on_photo(pipeline: Pipeline, output: Array) -> object:
    placement = Placement.of(_photo_size(), pipeline.manifest.preprocess)
    return on_picture(pipeline.manifest, pipeline.labels, output[0], placement)


_AFTER: Mapping[TaskName, Callable[[Pipeline, Array], object]] = MappingProxyType(
    {CLASSIFY.manifest: _best_classes, SEGMENT.manifest: _mask_on_photo}
)


@cache
def _photo_size() -> tuple[int, int]:
    return load_image(PHOTO).size


@dataclass(frozen=True)
class Subject:
    """A model to be benched.

    ``reference`` names the subject that it is compared with, itself for the float32 ones; ``limit`` the one that does
    nothing but multiply and add; ``macs`` are its multiply-accumulates, where they are known.
    """

    name: str
    file: Path
    precision: str | None = None  # None: of a third-party model
    reference: str | None = None
    pipeline: Pipeline | None = field(default=None, repr=False)
    macs: int | None = None
    limit: str | None = None

    @property
    def engine(self) -> Engine:
        return ENGINES[self.file.suffix].engine

    @property
    def computes_in_int8(self) -> bool:
        return self.precision in ("dynamic", "int8", "full-int8")


def find_subjects(
    bundles: Sequence[Path], against: Sequence[Path] = (), artifacts: Sequence[str] = ()
) -> tuple[Subject, ...]:
    """The artifacts of every bundle (those named in ``artifacts``, or all), then the files of ``against``.

    Raises BundleError: a damaged bundle, an artifact that none of them holds, no such file; UsageError: another suffix.
    """
    found = [found for bundle in bundles for found in _artifacts(bundle)]
    known = list(dict.fromkeys(subject.file.name for subject in found))
    for artifact in artifacts:
        if not any(_is_called(subject, artifact) for subject in found):
            near = did_you_mean(artifact, known)
            raise BundleError(f"no artifact {artifact!r}.{near} There are: {', '.join(known)}.")
    for file in against:
        if file.suffix not in ENGINES:
            raise UsageError(f"--against {file}: unknown kind of model file, accepted: {', '.join(ENGINES)}.")
        if not file.is_file():
            raise BundleError(f"--against {file} does not exist or is no file; check the path.")
    chosen = [s for s in found if not artifacts or any(_is_called(s, a) for a in artifacts)] + [
        Subject("", file) for file in against
    ]
    return _referred(chosen, _names([subject.file for subject in chosen]))


def _is_called(subject: Subject, artifact: str) -> bool:
    """By its file name or by its precision, of a bundle's."""
    return artifact == subject.file.name or precision_named(artifact) == subject.precision


def _artifacts(bundle: Path) -> list[Subject]:
    manifest = read_manifest(bundle)
    pipeline = Pipeline(manifest, read_labels(bundle, manifest))
    macs = sum(block.macs for block in manifest.blocks) or None
    return [
        Subject("", verified_artifact(bundle, a), precision=a.precision, pipeline=pipeline, macs=macs)
        for a in manifest.artifacts
    ]


def _names(files: Sequence[Path]) -> list[str]:
    """The file's name, with as many folders before it as tell all apart; one that is given twice is numbered."""
    different = len(set(files))
    depth = next(
        (n for n in range(1, 4) if len({file.parts[-n:] for file in files}) == different),
        max(len(file.parts) for file in files) if files else 1,
    )
    names: list[str] = []
    for file in files:
        name = Path(*file.parts[-depth:]).as_posix()
        again = sum(known == name or known.startswith(f"{name} (") for known in names)
        names.append(f"{name} ({again + 1})" if again else name)
    return names


def _referred(subjects: Sequence[Subject], names: Sequence[str]) -> tuple[Subject, ...]:
    """With names and references: the float32 artifact of the same engine, in the same bundle.

    A third-party model has that of the first bundle that has one; for want of its engine there, of any engine.
    """
    floats = [(s, name) for s, name in zip(subjects, names, strict=True) if s.precision == "float32"]

    def reference(subject: Subject) -> str | None:
        alike = [name for s, name in floats if s.engine == subject.engine]
        if subject.pipeline is None:
            return next(iter(alike + [name for _, name in floats]), None)
        same = (name for s, name in floats if s.pipeline is subject.pipeline and s.engine == subject.engine)
        return next(same, None)

    return tuple(
        replace(subject, name=name, reference=reference(subject)) for subject, name in zip(subjects, names, strict=True)
    )


def with_products(subjects: Sequence[Subject], folder: Path) -> tuple[Subject, ...]:
    """The subjects, each bundle's artifact with its limit, then these limits: see gemm_peak.py. Files go to ``folder``.

    Raises MissingEngineError: the package onnx is not installed.
    """
    products: dict[tuple[Engine, bool], Subject] = {}
    limited = []
    for subject in subjects:
        kind = subject.engine, subject.computes_in_int8
        if subject.macs is not None and kind not in products:
            file = write_product(*kind, folder)
            products[kind] = Subject(file.name, file, macs=MACS)
        limited.append(replace(subject, limit=products[kind].name) if subject.macs is not None else subject)
    return (*limited, *products.values())


def usable(subjects: Sequence[Subject]) -> tuple[tuple[Subject, ...], dict[str, str], dict[str, tuple[str, ...]]]:
    """Open and run each once: those that can, why others cannot for want of an engine, and whose inputs are open.

    Raises MissingEngineError where none can run, BundleError for a file that its engine cannot open or run.
    """
    can: list[Subject] = []
    missing: dict[str, MissingEngineError] = {}
    open_inputs: dict[str, tuple[str, ...]] = {}
    for subject in subjects:
        try:
            model = open_any(subject.file, 1)
        except MissingEngineError as error:
            missing[subject.name] = error
            continue
        prepare(subject, model)
        can.append(subject)
        if model.open_inputs and not subject.pipeline:
            open_inputs[subject.name] = model.open_inputs
    if not can:
        raise next(iter(missing.values()))
    return tuple(can), {name: str(error) for name, error in missing.items()}, open_inputs


def chosen(wanted: str, subjects: Sequence[Subject]) -> Subject:
    """The subject of that name or file name, or any other model file of that path. Raises BundleError, UsageError."""
    for subject in subjects:
        if wanted in (subject.name, subject.file.name):
            return subject
    if Path(wanted).suffix in ENGINES and Path(wanted).is_file():
        return Subject(Path(wanted).name, Path(wanted))
    names = [subject.name for subject in subjects]
    raise BundleError(
        f"no artifact and no model file {wanted!r}.{did_you_mean(wanted, names)} There are: {', '.join(names)}."
    )


def prepare(subject: Subject, model: Backend) -> list[Array]:
    """Inputs on which the model has run once. Raises BundleError when it does not."""
    try:
        inputs = subject.pipeline.before() if subject.pipeline else random_inputs(model)
        model.run_all(inputs)
    except BundleError as error:
        where = "" if str(subject.file) in str(error) else f"{subject.file}: "
        what = "" if subject.pipeline else " That was on random inputs; take another model."
        raise BundleError(f"{where}{error}{what}") from None
    return inputs
