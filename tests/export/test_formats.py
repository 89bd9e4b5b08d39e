"""The table of formats: every row can be opened, written and asked for, and nothing else knows them by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mvit2.export.formats as formats
from mvit2.errors import UsageError
from mvit2.export.formats import FORMATS, IN_ALL, Format, converted
from mvit2.export.int8.write import WRITERS
from mvit2.export.request import ExportRequest
from mvit2.runtime.engines.table import ENGINES

every = pytest.mark.parametrize("row", FORMATS.values(), ids=lambda row: row.name)


@every
def test_every_format_has_an_engine_and_a_home(row: Format) -> None:
    assert ENGINES[row.suffix].engine == row.engine
    assert row.home in FORMATS and FORMATS[row.home].made_from is None
    assert set(row.usual) <= set(row.precisions) and row.libraries


@every
def test_every_format_can_be_asked_for_in_every_precision(row: Format) -> None:
    for precision in row.precisions:
        request = ExportRequest(formats=(row.name,), quantize=(precision,))
        assert request.quantised(row.name) == (precision,) and request.converted == (row.home,)
    assert ExportRequest(formats=(row.name,)).quantised(row.name) == row.usual


def test_quantised_files_are_written_of_every_format_that_is_converted() -> None:
    assert {name for name, row in FORMATS.items() if row.made_from is None and row.precisions} == set(WRITERS)


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


def test_no_switch_on_a_format_is_left_in_int8_and_gates() -> None:
    """What differs between formats is in their rows, and in the steps of pipeline.py that convert."""
    root = Path(formats.__file__).parent
    switch = re.compile(r"(format|engine|suffix) (==|!=) \"")
    found = [
        f"{file.name}: {line.strip()}"
        for file in (*(root / "int8").glob("*.py"), root / "gates.py", root / "request.py", root / "pipeline.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if switch.search(line)
    ]
    assert len(found) <= 1, found  # which quantised artifacts become .ort files
