"""The bundle's manifest: what every file in it is, where it comes from and how far it was checked.

``manifest.json`` is untrusted input: sizes, types, file names and the schema version are verified before use.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from .errors import BundleError, UsageError
from .preprocess_spec import PreprocessSpec

__all__ = [
    "IO",
    "LABELS",
    "MANIFEST",
    "SCHEMA_VERSION",
    "Artifact",
    "Difference",
    "Engine",
    "FileRecord",
    "GraphFacts",
    "Manifest",
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
SCHEMA_VERSION = 1
_MAX_BYTES = 8 << 20
_MAX_PATH = 200
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_FILE_NAME = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*")
IO = Literal["image", "tensor"]
Engine = Literal["onnxruntime", "litert"]
Precision = Literal["float32", "float16"]
_SUFFIXES: Mapping[Engine, str] = {"onnxruntime": ".onnx", "litert": ".tflite"}


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


@dataclass(frozen=True)
class Difference:
    """One stage of the chain compared with the torch model over all parity inputs."""

    stage: str
    inputs: int  # how many images were compared
    max_probability: float  # max |difference| of probabilities
    max_log_probability: float  # max |difference| of log-probabilities
    top1_agreement: float  # share of images with the same first class
    tolerance: float  # accepted max_log_probability
    finite: bool = True  # no NaN or Inf anywhere

    @property
    def passed(self) -> bool:
        near = self.max_probability <= self.tolerance and self.max_log_probability <= self.tolerance
        return self.finite and near and self.top1_agreement == 1.0


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
    parity: Difference

    def __post_init__(self) -> None:
        if not self.file.path.endswith(_SUFFIXES[self.engine]):
            raise BundleError(f"manifest gives {self.file.path} to {self.engine}, accepted: *{_SUFFIXES[self.engine]}")


@dataclass(frozen=True)
class Manifest:
    """Everything a runtime needs to know about a bundle.

    ``io``: "image" = uint8 RGB [1, H, W, 3] -> softmax scores; "tensor" = float32 NCHW -> logits.
    """

    schema_version: int
    name: str
    task: Literal["image-classification"]
    variant: str
    io: IO
    weights: WeightsIdentity
    preprocess: PreprocessSpec
    classes: int
    artifacts: tuple[Artifact, ...]
    files: tuple[FileRecord, ...]  # all others: labels, golden vectors
    parity: tuple[Difference, ...]  # every stage of the chain, in order
    tools: Mapping[str, str] = field(default_factory=dict)  # library -> version that made this bundle

    def __post_init__(self) -> None:
        if not self.artifacts:
            raise BundleError("the manifest lists no model file")


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
        manifest: Manifest = _decode(Manifest, content, "manifest")
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


def _decode(kind: Any, value: Any, where: str) -> Any:
    """JSON ``value`` as ``kind``, strictly: a wrong type, a missing or an unknown field is a ValueError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return _decode_dataclass(kind, value, where)
    if origin is tuple:
        _expect(isinstance(value, list), value, where, "a list")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        _expect(len(kinds) == len(value), value, where, f"{len(kinds)} values")
        return tuple(_decode(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin in (types.UnionType, typing.Union):
        present = [k for k in arguments if k is not type(None)]
        return None if value is None and len(present) < len(arguments) else _decode(present[0], value, where)
    if origin is Literal:
        _expect(value in arguments, value, where, " or ".join(map(repr, arguments)))
        return value
    if origin is Mapping:
        _expect(isinstance(value, dict), value, where, "an object")
        name, content = arguments
        return {_decode(name, k, where): _decode(content, v, f"{where}[{k[:80]!r}]") for k, v in value.items()}
    if kind is float:
        finite = type(value) in (int, float) and abs(value) <= sys.float_info.max
        _expect(finite, value, where, "a finite number")
        return float(value)
    _expect(type(value) is kind, value, where, kind.__name__)
    _expect(kind is not str or not _LONE_SURROGATE.search(value), value, where, "text that UTF-8 can write")
    return value


def _decode_dataclass(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), value, where, "an object")
    hints = typing.get_type_hints(kind)
    names = [f.name for f in fields(kind)]
    wrong = sorted(set(names) ^ set(value))
    if wrong:
        raise ValueError(f"{where}: missing or unknown {str(wrong)[:80]}, expected exactly {', '.join(names)}")
    return kind(**{name: _decode(hints[name], value[name], f"{where}.{name}") for name in names})


def _expect(condition: bool, value: object, where: str, accepted: str) -> None:
    if not condition:
        raise ValueError(f"{where} is {str(value)[:80]!r}, expected {accepted}")
