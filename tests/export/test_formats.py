"""The table of formats: every row can be opened, written and asked for, and nothing else knows them by name."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from mvit2.errors import UsageError
from mvit2.export.formats import FORMATS, IN_ALL, TOOLS, Format, FormatName, converted, format_of, in_order
from mvit2.export.request import ExportRequest
from mvit2.runtime.engines.table import ENGINES

from ..support.tree import SOURCES, name_of

every = pytest.mark.parametrize("row", FORMATS.values(), ids=lambda row: row.name)


@every
def test_every_format_has_an_engine_and_a_home(row: Format) -> None:
    assert ENGINES[row.suffix].engine == row.engine
    assert row.home in FORMATS and not FORMATS[row.home].repacks
    assert set(row.usual) <= set(row.precisions) and row.libraries
    assert row.takes(row.base) and row.base not in row.precisions


@every
def test_every_format_can_be_asked_for_in_every_precision(row: Format) -> None:
    for precision in row.precisions:
        request = ExportRequest(formats=(row.name,), quantize=(precision,))
        assert request.quantised(row.name) == (precision,) and request.converted == (row.home,)
    assert ExportRequest(formats=(row.name,)).quantised(row.name) == row.usual


@every
def test_every_precision_is_made_somewhere(row: Format) -> None:
    """By the converter, by one of the two writers, or as a file of the format that it is repacked from."""
    made = (
        {*row.converts} | ({"full-int8"} if row.write_fully else set()) | ({"int8", "dynamic"} if row.write else set())
    )
    assert {*row.precisions} <= ({*FORMATS[row.home].precisions} if row.repacks else made)
    assert not (row.repacks and (row.write or row.write_fully))


@every
def test_a_format_comes_after_what_it_is_made_from(row: Format) -> None:
    order = [one.name for one in in_order([row.name])]
    assert order[-1] == row.name and order[:-1] == ([row.made_from] if row.made_from else [])
    assert row.made_from is None or FORMATS[row.made_from].in_between
    assert format_of(row.file(row.base)) is row and format_of(Path("folder") / f"x{row.suffix}") is row


def test_the_names_are_those_of_the_rows() -> None:
    assert get_args(FormatName) == (*FORMATS,) and format_of("model.pt") is None
    assert len({row.suffix for row in FORMATS.values()}) == len(FORMATS) == len({row.title for row in FORMATS.values()})
    assert len(set(TOOLS)) == len(TOOLS)


@pytest.mark.parametrize(
    ("names", "homes"),
    [
        (("ort",), ("onnx",)),
        (("ort", "tflite"), ("onnx", "tflite")),
        (("tflite",), ("tflite",)),
        (IN_ALL, ("onnx", "tflite")),
        ((), ()),
    ],
)
def test_what_others_are_made_of(names: tuple[str, ...], homes: tuple[str, ...]) -> None:
    assert converted(names) == homes


@pytest.mark.parametrize(
    ("names", "scheme", "said"),
    [
        (("onnx",), "dynamic", "--quantize dynamic is for TFLite, ONNX takes int8: add --format tflite."),
        (("ort",), "full-int8", "--quantize full-int8 is for TFLite, ONNX takes int8: add --format tflite."),
    ],
)
def test_a_precision_of_another_format(names: tuple[str, ...], scheme: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        ExportRequest(formats=names, quantize=(scheme,))
    assert str(caught.value) == said


def test_names_of_files() -> None:
    assert [row.file("full-int8") for row in FORMATS.values()] == [f"model_full_int8.{name}" for name in FORMATS]


# Where a format may be named: its row, what makes it, what opens it, the places that take it, and what apps do with it.
NAMED = (
    *("export/formats.py", "export/convert/", "export/int8/write.py", "runtime/engines/", "runtime/accelerators/"),
    *("runtime/bench/gemm_peak.py", "runtime/bench/tflite_blocks.py", "mvit2/bundle/kinds.py"),
)


def test_no_switch_on_a_format_is_left() -> None:
    """Neither a name nor a suffix is a word of the code elsewhere; examples are names of files."""
    words = {f"{quote}{dot}{name}{quote}" for quote in "\"'" for dot in ("", ".") for name in FORMATS}
    words |= {f'{{file.stem}}.{name}"' for name in FORMATS}
    found = [
        f"{name_of(file)}: {line.strip()}"
        for file in SOURCES
        if not name_of(file).startswith(NAMED)
        for line in file.read_text(encoding="utf-8").splitlines()
        if any(word in line for word in words)
    ]
    others = ("export/export_bundle.py: >>> ", "mvit2/errors.py: ", "export/doctor.py: ")  # examples, libraries, extras
    assert [line for line in found if not line.startswith(others)] == []
