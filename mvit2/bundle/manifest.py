"""The bundle's manifest: what every file in it is, where it comes from and how far it was checked.

``manifest.json`` is untrusted input: sizes, types, file names and the schema version are verified before use.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from mvit2.atomic_write import write_text
from mvit2.difference import Difference
from mvit2.errors import BundleError, UsageError, did_you_mean
from mvit2.image.palette import COLOR
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.blocks import Block
from mvit2.strict_json import decode
from mvit2.tasks import TASKS, OutputKind, TaskName, task_named

from .accelerator import Accelerator
from .files import FileRecord, folder_record, record, sha256_of, verified_folder, verified_path
from .kinds import MANIFEST, PREFERRED_ENGINES, SUFFIXES, Engine, Precision, no_bundle, precision_named
from .measurements import Calibration, Quantisation
from .proofs import Proof
from .upgrade import OLDEST_VERSION, SCHEMA_VERSION, upgraded

__all__ = [
    "DEFAULT_SAMPLES",
    "DEFAULT_SEED",
    "IO",
    "LABELS",
    "MANIFEST",
    "MAX_MASK_CLASSES",
    "PREFERRED_ENGINES",
    "SCHEMA_VERSION",
    "Artifact",
    "Engine",
    "FileRecord",
    "GraphFacts",
    "Manifest",
    "OutputKind",
    "Precision",
    "TensorFacts",
    "WeightsIdentity",
    "manifest_text",
    "precision_named",
    "read_labels",
    "read_manifest",
    "record",
    "sha256_of",
    "verified_artifact",
    "verified_path",
    "write_manifest",
]

LABELS = "labels.txt"
_MAX_BYTES = 8 << 20
_MAX_TEXT = 300
_MAX_OPTIONS = 500
DEFAULT_SAMPLES, DEFAULT_SEED = 256, 0  # of the images to calibrate on: how many, and which
MAX_MASK_CLASSES = 256  # a mask's pixel is one byte
IO = Literal["image", "tensor"]


@dataclass(frozen=True)
class WeightsIdentity:
    """Which weights: ``sha256`` is that of the tensors, whatever file they came in."""

    name: str
    origin: str
    layout: str
    sha256: str


@dataclass(frozen=True)
class TensorFacts:
    """A model's input or output; a dimension of None is dynamic.

    Where a tensor is quantised, real value = scale * (stored value - zero_point); else both are None.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class GraphFacts:
    """What was read off a model file. The XNNPACK figures are None for models that LiteRT does not run."""

    operators: Mapping[str, int]  # type -> count
    max_rank: int
    transposes_of_maps: int  # TRANSPOSE operators on tensors of more than one channel, the input's aside
    flex_or_custom: tuple[str, ...] = ()
    xnnpack_partitions: int | None = None
    not_delegated: tuple[str, ...] | None = None  # operators that XNNPACK leaves to LiteRT's own kernels
    accelerators: tuple[Accelerator, ...] = ()  # what they would take of an ONNX graph; none for others

    @property
    def in_xnnpack(self) -> str:
        """``555 of 555 operators in 1 partition``: XNNPACK's share of a TFLite graph; "-" for others."""
        if self.xnnpack_partitions is None or self.not_delegated is None:
            return "-"
        total, parts = sum(self.operators.values()), self.xnnpack_partitions
        return f"{total - len(self.not_delegated)} of {total} operators in {parts} partition{'' if parts == 1 else 's'}"


@dataclass(frozen=True)
class Artifact:
    """A model that a runtime can open: a file, or a folder of files.

    Attributes:
        file: the model; of a folder, the record that ``files.folder_record`` makes of ``files``.
        input: the one image that every network here takes, so that there is no list of inputs.
        outputs: one or more, in the model's own order; the first is what the task answers with.
        parity: with torch; quantisation: how near to float32; unverified: why neither could be measured where the
            bundle was made. Exactly one of the three is given.
        files: what a folder holds; empty for a file.

    Raises BundleError for what contradicts itself.
    """

    file: FileRecord
    engine: Engine
    precision: Precision
    input: TensorFacts
    outputs: tuple[TensorFacts, ...]
    graph: GraphFacts
    parity: Difference | None = None
    quantisation: Quantisation | None = None
    unverified: str | None = None
    files: tuple[FileRecord, ...] = ()

    def __post_init__(self) -> None:
        if not self.file.path.endswith(SUFFIXES[self.engine]):
            accepted = " or ".join(SUFFIXES[self.engine])
            raise BundleError(f"manifest gives {self.file.path} to {self.engine}, accepted: *{accepted}")
        if not self.outputs:
            raise BundleError(f"manifest gives {self.file.path} no outputs, accepted: one or more")
        if sum(proof is not None for proof in (self.parity, self.quantisation, self.unverified)) != 1:
            raise BundleError(
                f"manifest must give {self.file.path} either parity or quantisation, or say unverified: why"
            )
        why = self.unverified
        if why is not None and not (why.isprintable() and 0 < len(why) <= _MAX_TEXT):
            raise BundleError(
                f"manifest says of {self.file.path} unverified: {why[:40]!r}, accepted: 1 to {_MAX_TEXT} printable "
                "characters"
            )
        if self.files:
            self._check_folder()

    def _check_folder(self) -> None:
        paths = [file.path for file in self.files]
        outside = next((path for path in paths if not path.startswith(f"{self.file.path}/")), None)
        if outside is not None:
            raise BundleError(
                f"manifest lists {outside[:80]!r} as a part of {self.file.path}, accepted: files inside it"
            )
        if len(set(paths)) != len(paths) or folder_record(self.file.path, self.files) != self.file:
            raise BundleError(f"manifest's record of {self.file.path} is not that of the {len(paths)} files it lists")

    @property
    def output(self) -> TensorFacts:
        """What the task answers with."""
        return self.outputs[0]

    @property
    def parts(self) -> tuple[FileRecord, ...]:
        """The files on disk: the model, or everything in its folder."""
        return self.files or (self.file,)


@dataclass(frozen=True)
class Manifest:
    """Everything a runtime needs to know about a bundle.

    ``io``: "image" = uint8 RGB [1, H, W, 3] -> softmax scores; "tensor" = float32 NCHW -> logits.
    ``output_kind`` of a segmentation network: "scores" = float32 [1, h, w, classes], logits at its own resolution;
    "mask" = uint8 [1, H, W], the class of every pixel of the input. ``colors`` are "#rrggbb", one for each of its
    classes. Of a classifier: "scores", none. ``classes`` is None for a task that has none.

    Raises BundleError for what contradicts itself or the task's row in mvit2.tasks.
    """

    schema_version: int
    name: str
    task: TaskName
    architecture: str  # a row of mvit2.network.architectures, of this mvit2 or of another
    variant: str
    io: IO
    weights: WeightsIdentity
    preprocess: PreprocessSpec
    classes: int | None
    artifacts: tuple[Artifact, ...]
    files: tuple[FileRecord, ...]  # all others: labels, golden vectors
    parity: tuple[Difference, ...]  # every stage of the chain, in order
    blocks: tuple[Block, ...]  # of the network, in order
    calibration: Calibration | None = None
    tools: Mapping[str, str] = field(default_factory=dict)  # library -> version that made this bundle
    output_kind: OutputKind = "scores"
    colors: tuple[str, ...] = ()
    proofs: tuple[Proof, ...] = ()  # of the artifacts on accelerators
    assumptions: tuple[str, ...] = ()  # what nothing said of the checkpoint: sentences
    reduce_labels: bool = False  # its label maps count classes from 1, and 0 is no class
    rules: Mapping[str, str] = field(default_factory=dict)  # whose arithmetic, where implementations differ
    options: tuple[str, ...] = ()  # of mvit2-export, word by word, that make the same of the checkpoint; () if unknown

    def __post_init__(self) -> None:
        if not self.artifacts:
            raise BundleError("the manifest lists no model file")
        self._check_task()
        odd = next((color for color in self.colors if not COLOR.fullmatch(color)), None)
        if odd is not None:
            raise BundleError(f"the manifest has the color {odd[:20]!r}, accepted: like '#80ff00'")
        strange = next((word for word in self.options if not word.isprintable() or len(word) > _MAX_TEXT), None)
        if strange is not None or len(self.options) > _MAX_OPTIONS:
            said = f"{len(self.options)} options" if strange is None else f"the option {strange[:40]!r}"
            raise BundleError(
                f"the manifest has {said}, accepted: up to {_MAX_OPTIONS} of up to {_MAX_TEXT} printable characters"
            )
        unknown = {proof.file for proof in self.proofs} - {artifact.file.path for artifact in self.artifacts}
        if unknown:
            raise BundleError(f"the manifest has a proof of {min(unknown)[:80]!r}, accepted: of its model files")

    def _check_task(self) -> None:
        task, classes = task_named(self.task), self.classes
        if (classes is None) != (task.labelled is None):
            accepted = "none" if task.labelled is None else "how many there are"
            raise BundleError(f"the manifest has {classes} classes for {self.task}, accepted: {accepted}")
        too_many = self.output_kind == "mask" and self.class_count > MAX_MASK_CLASSES
        if too_many or self.output_kind not in task.output_kinds:
            able = " or ".join(row.manifest for row in TASKS.values() if self.output_kind in row.output_kinds)
            accepted = f"{able} with at most {MAX_MASK_CLASSES}"
            raise BundleError(f"the manifest has masks of {classes} classes for {self.task}, accepted: {accepted}")
        wanted = self.class_count if task.colored else 0
        if len(self.colors) != wanted:
            accepted = f"{wanted}, one for each class" if task.colored else f"none, {task.network} has no use for them"
            raise BundleError(f"the manifest has {len(self.colors)} colors, accepted: {accepted}")

    @property
    def class_count(self) -> int:
        """``classes`` of a task that has them. Raises BundleError: it has none."""
        if self.classes is None:
            raise BundleError(f"{self.name} is for {self.task}, which has no classes")
        return self.classes

    @property
    def unverified(self) -> Mapping[str, str]:
        """Artifact -> why nobody has compared it with torch."""
        return {a.file.path: a.unverified for a in self.artifacts if a.unverified is not None}

    def artifact(self, name: str) -> Artifact:
        """The artifact of that file name, or of a precision such as "int8": of several its .tflite file.

        Raises BundleError, naming near misses.
        """
        held = {artifact.file.path: artifact for artifact in self.artifacts}
        if name in held:
            return held[name]
        precision = precision_named(name)
        some = [artifact for artifact in self.artifacts if artifact.precision == precision]
        if some:
            return min(some, key=lambda artifact: PREFERRED_ENGINES.index(artifact.engine))
        near = did_you_mean(name, held)
        raise BundleError(f"{self.name} has no artifact {name!r}.{near} It holds: {', '.join(held)}.")


def verified_artifact(bundle: Path, artifact: Artifact) -> Path:
    """The model on disk, after it was found to be the manifest's: a file, or a folder. Raises BundleError."""
    if artifact.files:
        return verified_folder(bundle, artifact.file, artifact.files)
    return verified_path(bundle, artifact.file)


def manifest_text(manifest: Manifest) -> str:
    """As ``write_manifest`` writes it. Raises ValueError for a figure that is no number."""
    return json.dumps(asdict(manifest), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    """Raises OSError: what stood there is as it was. ValueError: a figure that is no number."""
    write_text(bundle / MANIFEST, manifest_text(manifest))


def read_manifest(bundle: Path) -> Manifest:
    """A manifest of any schema so far, as one of the present. Raises BundleError: no bundle, damaged, or newer."""
    path = bundle / MANIFEST
    if not os.path.isfile(path):  # unlike Path.is_file, also False for a name that is too long
        raise BundleError(no_bundle(bundle))
    if path.stat().st_size > _MAX_BYTES:
        raise BundleError(f"{path}: {path.stat().st_size} bytes, accepted are at most {_MAX_BYTES}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not readable JSON ({error}). Export the bundle again.") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is int:
        if not OLDEST_VERSION <= version <= SCHEMA_VERSION:
            raise _other_schema(path, version)
        content = upgraded(content)
    try:
        manifest: Manifest = decode(Manifest, content, "manifest")
    except (ValueError, UsageError, BundleError) as error:
        raise BundleError(f"{path}: {error}. Export the bundle again.") from None
    return manifest


def _other_schema(path: Path, version: int) -> BundleError:
    todo = "upgrade mvit2" if version > SCHEMA_VERSION else "export the bundle again"
    read = f"{OLDEST_VERSION} to {SCHEMA_VERSION}"
    return BundleError(f"{path} has schema_version {str(version)[:20]}, this mvit2 reads {read}: {todo}.")


def read_labels(bundle: Path, manifest: Manifest) -> tuple[str, ...]:
    """One name a line, as many as the network has classes; () for a task without any. Raises BundleError."""
    if manifest.classes is None:
        return ()
    file = next((f for f in manifest.files if f.path == LABELS), None)
    if file is None:
        raise BundleError(f"{bundle / MANIFEST} lists no {LABELS}. Export the bundle again.")
    try:
        labels = tuple(verified_path(bundle, file).read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError as error:
        raise BundleError(f"{bundle / LABELS} is no UTF-8 text ({error}). Export the bundle again.") from None
    if len(labels) != manifest.classes:
        raise BundleError(f"{bundle / LABELS} has {len(labels)} lines, the network {manifest.classes} classes.")
    return labels
