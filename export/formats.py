"""The kinds of model files that a bundle can hold: a row for each.

A further one is a row here, export/convert/to_NAME.py, which makes it, and runtime/engines/NAME.py, which opens it,
with its suffix in runtime/engines/table.py. Nothing heavy is imported until a file is made or looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from mvit2.bundle.manifest import Engine, GraphFacts, Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mvit2.export.convert.conversion import Conversion, Made
    from mvit2.export.convert.tflite_metadata import ModelCard
    from mvit2.quantize.plan import Plan

__all__ = ["FORMATS", "IN_ALL", "TOOLS", "Format", "FormatName", "converted", "format_of", "in_order", "libraries_of"]

FormatName = Literal["onnx", "tflite", "ort"]
Convert = Callable[["Conversion"], "Made"]
Inspect = Callable[[Path], GraphFacts]
Gate = Callable[[GraphFacts], str | None]
"""What was read off a file -> what is wrong with it, after the file's name; None: nothing."""
Write = Callable[[Path, Path, "ModelCard", "Plan"], None]
"""float file, file to write, what it says of itself, what it computes. Raises ConversionError: another network's."""
WriteFully = Callable[[Path, Path, "ModelCard", "NDArray[np.uint8]"], str]
"""The same by images [N, H, W, 3], whose ranges it has; returns the name of the ranges' method."""


@dataclass(frozen=True)
class Format:
    """One row of ``FORMATS``.

    Attributes:
        name: as it is typed, ``--format onnx``.
        title: as people write it; ``hint`` is what else ``--help`` says of it.
        suffix: of its files, or of its folders.
        engine: what opens it.
        made_from: the format whose files ``convert`` starts from; None: torch's network.
        repacks: every file of ``made_from`` is made once more, quantised ones too; else ``write`` quantises.
        precisions: those that ``--quantize`` can ask for.
        usual: those of them that are made where nobody says which.
        converts: what ``convert`` makes by itself: the first always, others where they are asked for.
        options: fields of the request that not every format can honour, and this one does.
        libraries: the modules that make and open it, beside torch; ``extra`` of mvit2 brings them.
        tools: the packages whose versions a bundle records.
        convert: make its files.
        write: quantise its first file by a plan; ``write_fully``: so that every tensor is int8.
        inspect: file -> what is in it; None: its converter says so.
        gates: what refuses a file.
        in_all: whether ``--format all`` makes it.
        in_between: what its first file is called where it is only a step on the way to another format.
    """

    name: FormatName
    title: str
    suffix: str
    engine: Engine
    made_from: FormatName | None
    precisions: tuple[Precision, ...]
    libraries: tuple[str, ...]
    convert: Convert
    inspect: Inspect | None
    in_all: bool
    repacks: bool = False
    usual: tuple[Precision, ...] = ()
    converts: tuple[Precision, ...] = ("float32",)
    options: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    write: Write | None = None
    write_fully: WriteFully | None = None
    gates: tuple[Gate, ...] = ()
    extra: str = "export"
    in_between: str = ""
    hint: str = ""

    def file(self, precision: Precision) -> str:
        """The name of a bundle's file."""
        return f"model_{precision.replace('-', '_')}{self.suffix}"

    @property
    def base(self) -> Precision:
        """Of the file that there always is, and that quantised ones are written of and compared with."""
        return self.converts[0]

    @property
    def home(self) -> FormatName:
        """The format whose files are quantised on the way to this one."""
        return self.made_from if self.repacks and self.made_from is not None else self.name

    def inspected(self, file: Path) -> GraphFacts:
        """What is in ``file``. Raises ValueError: only its converter can say so."""
        if self.inspect is None:
            raise ValueError(f"nothing reads {self.title} files; its converter says what is in {file.name}")
        return self.inspect(file)

    def takes(self, precision: str) -> bool:
        """Whether there can be such files of it."""
        return precision in (self.base, *self.precisions)


# ---- ONNX ----


def _to_onnx(job: Conversion) -> Made:
    from mvit2.export.convert.to_onnx import convert

    return convert(job)


def _inspect_onnx(file: Path) -> GraphFacts:
    from mvit2.export.convert.onnx_facts import onnx_facts

    return onnx_facts(file)


def _write_onnx(source: Path, file: Path, card: ModelCard, plan: Plan) -> None:
    from mvit2.export.int8.write import write_onnx

    write_onnx(source, file, card, plan)


_ONNX = Format(
    name="onnx",
    title="ONNX",
    suffix=".onnx",
    engine="onnxruntime",
    made_from=None,
    precisions=("int8",),
    libraries=("onnx", "onnxsim", "onnxruntime"),
    tools=("onnx", "onnxsim", "onnxruntime"),
    options=("dynamic_batch",),
    convert=_to_onnx,
    write=_write_onnx,
    inspect=_inspect_onnx,
    in_between="simplified ONNX",
    in_all=True,
)


# ---- TFLite ----


def _to_tflite(job: Conversion) -> Made:
    from mvit2.export.convert.to_tflite import convert

    return convert(job)


def _inspect_tflite(file: Path) -> GraphFacts:
    from mvit2.runtime.engines.inspect_tflite import inspect_tflite

    return inspect_tflite(file)


def _write_tflite(source: Path, file: Path, card: ModelCard, plan: Plan) -> None:
    from mvit2.export.int8.write import write_tflite

    write_tflite(source, file, card, plan)


def _write_tflite_fully(source: Path, file: Path, card: ModelCard, pixels: NDArray[np.uint8]) -> str:
    from mvit2.export.int8.write import write_full_int8

    return write_full_int8(source, file, card, pixels)


_MAX_RANK = 4  # beyond it, and beyond LiteRT's own operators, GPUs and NPUs of phones take nothing


def _beyond_phones(graph: GraphFacts) -> str | None:
    if not graph.flex_or_custom and graph.max_rank <= _MAX_RANK:
        return None
    return (
        f"holds tensors of rank {graph.max_rank} (accepted: up to {_MAX_RANK}) and the operators "
        f"{', '.join(graph.flex_or_custom) or 'none'} beyond TFLite's own (accepted: none)"
    )


_TFLITE = Format(
    name="tflite",
    title="TFLite",
    suffix=".tflite",
    engine="litert",
    made_from="onnx",
    precisions=("float16", "dynamic", "int8", "full-int8"),
    usual=("int8",),
    converts=("float32", "float16"),
    libraries=("onnx2tf", "ai_edge_litert"),
    tools=("onnx2tf", "tensorflow", "ai-edge-litert"),
    convert=_to_tflite,
    write=_write_tflite,
    write_fully=_write_tflite_fully,
    inspect=_inspect_tflite,
    gates=(_beyond_phones,),
    in_all=True,
)


# ---- ORT ----


def _to_ort(job: Conversion) -> Made:
    from mvit2.export.convert.to_ort import convert

    return convert(job)


_ORT = Format(
    name="ort",
    title="ORT",
    hint="ONNX Runtime Mobile",
    suffix=".ort",
    engine="onnxruntime",
    made_from="onnx",
    repacks=True,
    precisions=("int8",),
    libraries=("onnxruntime",),
    options=("dynamic_batch",),
    convert=_to_ort,
    inspect=None,
    in_all=False,
)


# ---- the table ----

_ROWS = (_ONNX, _TFLITE, _ORT)  # what others are made from comes first
FORMATS: Final[Mapping[FormatName, Format]] = MappingProxyType({row.name: row for row in _ROWS})
IN_ALL: Final[tuple[FormatName, ...]] = tuple(row.name for row in _ROWS if row.in_all)
_OF_ROWS = dict.fromkeys(tool for row in _ROWS for tool in row.tools)
TOOLS: Final = ("mvit2", "torch", *_OF_ROWS, "numpy", "pillow")  # that had a hand in a bundle


def in_order(formats: Iterable[str]) -> tuple[Format, ...]:
    """These and the ones that they are made from, each after what it is made from."""
    wanted = {above for name in formats for above in _with_sources(name)}
    return tuple(row for row in _ROWS if row.name in wanted)


def _with_sources(name: str) -> Iterator[str]:
    row = next((row for row in _ROWS if row.name == name), None)
    while row is not None:
        yield row.name
        row = None if row.made_from is None else FORMATS[row.made_from]


def libraries_of(formats: Iterable[str]) -> dict[str, str]:
    """Module -> the extra of mvit2 that brings it, of all that make these formats."""
    found = {"torch": "export", "safetensors": "export"}
    for row in in_order(formats):
        found |= {module: row.extra for module in row.libraries if module not in found}
    return found


def converted(formats: Iterable[str]) -> tuple[FormatName, ...]:
    """Those whose files are quantised for these, in the table's order; others are repacked from them."""
    wanted = {*formats}
    homes = {row.home for row in _ROWS if row.name in wanted}
    return tuple(name for name in FORMATS if name in homes)


def format_of(file: str | Path) -> Format | None:
    """By its suffix; None: a format that is not known here."""
    return next((row for row in _ROWS if str(file).endswith(row.suffix)), None)
