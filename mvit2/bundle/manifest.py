"""The bundle's manifest: what every file in it is, where it comes from and how far it was checked.

``manifest.json`` is untrusted input: sizes, types, file names and the schema version are verified before use.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from mvit2.difference import Difference
from mvit2.errors import BundleError, UsageError
from mvit2.image.palette import COLOR
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.blocks import Block
from mvit2.strict_json import decode
from mvit2.tasks import SEGMENT, TaskName

from .accelerator import Accelerator
from .measurements import Calibration, Quantisation

__all__ = [
    "DEFAULT_SAMPLES",
    "DEFAULT_SEED",
    "IO",
    "LABELS",
    "MANIFEST",
    "MAX_MASK_CLASSES",
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
    "read_labels",
    "read_manifest",
    "record",
    "sha256_of",
    "verified_path",
    "write_manifest",
]

MANIFEST, LABELS = "manifest.json", "labels.txt"
SCHEMA_VERSION = 3
_MAX_BYTES = 8 << 20
_MAX_PATH = 200
DEFAULT_SAMPLES, DEFAULT_SEED = 256, 0  # of the pictures to calibrate on: how many, and which
MAX_MASK_CLASSES = 256  # a mask's pixel is one byte
_FILE_NAME = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*")
IO = Literal["image", "tensor"]
OutputKind = Literal["scores", "mask"]
Engine = Literal["onnxruntime", "litert"]
Precision = Literal["float32", "float16", "dynamic", "int8", "full-int8"]
_SUFFIXES: Mapping[Engine, tuple[str, ...]] = {"onnxruntime": (".onnx", ".ort"), "litert": (".tflite",)}


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


@dataclass(frozen=True)
class FileRecord:
    """A file of the bundle: POSIX path inside it, size and content."""

    path: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if len(self.path) > _MAX_PATH or not _FILE_NAME.fullmatch(self.path):
            raise BundleError(
                f"manifest names the file {self.path[:80]!r}; accepted are plain relative paths of A-Z a-z 0-9 _ . - / "
                f"and at most {_MAX_PATH} characters"
            )


@dataclass(frozen=True)
class Artifact:
    """A model file that a runtime can open."""

    file: FileRecord
    engine: Engine
    precision: Precision
    input: TensorFacts
    output: TensorFacts
    graph: GraphFacts
    parity: Difference | None  # with torch, for float artifacts
    quantisation: Quantisation | None = None  # for the others

    def __post_init__(self) -> None:
        if not self.file.path.endswith(_SUFFIXES[self.engine]):
            accepted = " or ".join(_SUFFIXES[self.engine])
            raise BundleError(f"manifest gives {self.file.path} to {self.engine}, accepted: *{accepted}")
        if (self.parity is None) == (self.quantisation is None):
            raise BundleError(f"manifest must give {self.file.path} either parity or quantisation")


@dataclass(frozen=True)
class Manifest:
    """Everything a runtime needs to know about a bundle.

    ``io``: "image" = uint8 RGB [1, H, W, 3] -> softmax scores; "tensor" = float32 NCHW -> logits.
    ``output_kind`` of a segmentation network: "scores" = float32 [1, h, w, classes], logits at its own resolution;
    "mask" = uint8 [1, H, W], the class of every pixel of the input. ``colors`` are "#rrggbb", one for each of its
    classes. Of a classifier: "scores", none.
    """

    schema_version: int
    name: str
    task: TaskName
    variant: str
    io: IO
    weights: WeightsIdentity
    preprocess: PreprocessSpec
    classes: int
    artifacts: tuple[Artifact, ...]
    files: tuple[FileRecord, ...]  # all others: labels, golden vectors
    parity: tuple[Difference, ...]  # every stage of the chain, in order
    blocks: tuple[Block, ...]  # of the network, in order
    calibration: Calibration | None = None
    tools: Mapping[str, str] = field(default_factory=dict)  # library -> version that made this bundle
    output_kind: OutputKind = "scores"
    colors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.artifacts:
            raise BundleError("the manifest lists no model file")
        segments, masks = self.task == SEGMENT.manifest, self.output_kind == "mask"
        if masks and not (segments and self.classes <= MAX_MASK_CLASSES):
            accepted = f"{SEGMENT.manifest} with at most {MAX_MASK_CLASSES}"
            raise BundleError(f"the manifest has masks of {self.classes} classes for {self.task}, accepted: {accepted}")
        if len(self.colors) != (self.classes if segments else 0):
            accepted = f"{self.classes}, one for each class" if segments else "none, classifiers have no use for them"
            raise BundleError(f"the manifest has {len(self.colors)} colors, accepted: {accepted}")
        odd = next((color for color in self.colors if not COLOR.fullmatch(color)), None)
        if odd is not None:
            raise BundleError(f"the manifest has the color {odd[:20]!r}, accepted: like '#80ff00'")


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def record(bundle: Path, path: str) -> FileRecord:
    return FileRecord(path, (bundle / path).stat().st_size, sha256_of(bundle / path))


def verified_path(bundle: Path, file: FileRecord) -> Path:
    """The file on disk, after size and sha256 were found to be the manifest's. Raises BundleError."""
    path = bundle / PurePosixPath(file.path)
    if not os.path.isfile(path):
        raise BundleError(f"{path} is missing; the manifest lists it. Export or copy the bundle again.")
    if not path.resolve().is_relative_to(bundle.resolve()):
        raise BundleError(f"{path} leads out of the bundle; copy the bundle without links.")
    actual = sha256_of(path) if path.stat().st_size == file.bytes else f"{path.stat().st_size} bytes"
    if actual != file.sha256:
        expected = file.sha256 if len(actual) == len(file.sha256) else f"{file.bytes} bytes"
        raise BundleError(
            f"{path} was changed: sha256 or size is {actual[:20]}, the manifest says {expected[:20]}. "
            "Export or copy the bundle again."
        )
    return path


def write_manifest(bundle: Path, manifest: Manifest) -> None:
    text = json.dumps(asdict(manifest), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    (bundle / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(bundle: Path) -> Manifest:
    """Raises BundleError: no bundle, damaged, or of a newer schema."""
    path = bundle / MANIFEST
    if not os.path.isfile(path):  # unlike Path.is_file, also False for a name that is too long
        exists = os.path.exists(bundle)
        state = "holds no" if os.path.isdir(bundle) else "is no folder with a" if exists else "does not exist: no"
        raise BundleError(f"{bundle} {state} {MANIFEST}. Make a bundle with: mvit2-export")
    if path.stat().st_size > _MAX_BYTES:
        raise BundleError(f"{path}: {path.stat().st_size} bytes, accepted are at most {_MAX_BYTES}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not readable JSON ({error}). Export the bundle again.") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if type(version) is int and version != SCHEMA_VERSION:
        todo = "upgrade mvit2" if version > SCHEMA_VERSION else "export the bundle again"
        raise BundleError(f"{path} has schema_version {str(version)[:20]}, this mvit2 reads {SCHEMA_VERSION}: {todo}.")
    try:
        manifest: Manifest = decode(Manifest, content, "manifest")
    except (ValueError, UsageError, BundleError) as error:
        raise BundleError(f"{path}: {error}. Export the bundle again.") from None
    return manifest


def read_labels(bundle: Path, manifest: Manifest) -> tuple[str, ...]:
    """One name a line, as many as the network has classes. Raises BundleError."""
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
