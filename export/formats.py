"""The kinds of model files that a bundle can hold: a row for each.

Which engine opens a file by its suffix is in runtime/engines/table.py; how a quantised file is written of a float32 one
is in export/int8/write.py. Nothing heavy is imported until a file is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from mvit2.bundle.manifest import Artifact, Engine, GraphFacts, Precision

__all__ = ["FORMATS", "IN_ALL", "LIBRARIES", "Format", "FormatName", "converted", "format_of"]

FormatName = Literal["onnx", "tflite", "ort"]


@dataclass(frozen=True)
class Format:
    """One row of ``FORMATS``.

    Attributes:
        name: as it is typed, ``--format onnx``; with a dot before it, the files' suffix.
        title: as people write it; ``hint`` is what else ``--help`` says of it.
        engine: what opens it.
        made_from: the format that it is made from once more, artifact by artifact; None: from torch's network.
        precisions: the quantised ones that there can be of it, beside float32.
        usual: those of them that are made where nobody says which.
        in_all: whether ``--format all`` makes it.
        open_batch: whether the number of images can be left open.
        libraries: what makes and looks at it, beside torch.
        inspect: file -> what is in it.
        max_rank: of its tensors, with operators of its own alone; None: anything goes.
    """

    name: FormatName
    title: str
    engine: Engine
    made_from: FormatName | None
    precisions: tuple[Precision, ...]
    usual: tuple[Precision, ...]
    in_all: bool
    open_batch: bool
    libraries: tuple[str, ...]
    inspect: Callable[[Path], GraphFacts]
    max_rank: int | None = None
    hint: str = ""

    @property
    def suffix(self) -> str:
        return f".{self.name}"

    def file(self, precision: Precision) -> str:
        """The name of a bundle's file."""
        return f"model_{precision.replace('-', '_')}{self.suffix}"

    @property
    def home(self) -> FormatName:
        """The format that torch's network is converted to on the way to this one."""
        return self.made_from or self.name


def _inspect_onnx(file: Path) -> GraphFacts:
    from mvit2.export.convert.onnx_facts import onnx_facts

    return onnx_facts(file)


def _inspect_tflite(file: Path) -> GraphFacts:
    from mvit2.runtime.engines.inspect_tflite import inspect_tflite

    return inspect_tflite(file)


_ROWS = (
    Format(
        name="onnx",
        title="ONNX",
        engine="onnxruntime",
        made_from=None,
        precisions=("int8",),
        usual=(),
        in_all=True,
        open_batch=True,
        libraries=("onnx", "onnxsim", "onnxruntime"),
        inspect=_inspect_onnx,
    ),
    Format(
        name="tflite",
        title="TFLite",
        engine="litert",
        made_from=None,
        precisions=("float16", "dynamic", "int8", "full-int8"),
        usual=("int8",),
        in_all=True,
        open_batch=False,
        libraries=("onnx2tf", "ai_edge_litert"),
        inspect=_inspect_tflite,
        max_rank=4,
    ),
    Format(
        name="ort",
        title="ORT",
        engine="onnxruntime",
        made_from="onnx",
        precisions=("int8",),
        usual=(),
        in_all=False,
        open_batch=True,
        libraries=("onnxruntime",),
        inspect=_inspect_onnx,
        hint="ONNX Runtime Mobile",
    ),
)
FORMATS: Final[Mapping[FormatName, Format]] = MappingProxyType({row.name: row for row in _ROWS})
IN_ALL: Final[tuple[FormatName, ...]] = tuple(row.name for row in _ROWS if row.in_all)
LIBRARIES: Final[tuple[str, ...]] = tuple(dict.fromkeys(library for row in _ROWS for library in row.libraries))


def converted(formats: Iterable[str]) -> tuple[FormatName, ...]:
    """Those that torch's network is converted to for these, in the table's order."""
    wanted = {*formats}
    homes = {row.home for row in _ROWS if row.name in wanted}
    return tuple(name for name in FORMATS if name in homes)


def format_of(artifact: Artifact) -> Format | None:
    """By its suffix; None: a format that is not known here."""
    return next((row for row in _ROWS if artifact.file.path.endswith(row.suffix)), None)
