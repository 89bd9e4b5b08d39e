"""Options are declared once, as fields of a request; the command line and Python take the same ones."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from mvit2.errors import UsageError
from mvit2.export.option import option, options_of, read_fields, request_of
from mvit2.export.request import ExportRequest

Run = Callable[..., subprocess.CompletedProcess[str]]
FOR_PYTHON = {"name", "preprocess"}  # about a module in memory, which nobody can type


@dataclass(frozen=True, kw_only=True)
class Asked:
    size: int = field(default=3, metadata=option(int, "N", "How large."))
    where: str | Path = field(default=Path(), metadata=option(Path, "FOLDER", "Where.", "--output", "-o"))
    words: tuple[str, ...] = field(default=("a",), metadata=option(list, "WORD", "Which.", parse=tuple))
    loud: bool = field(default=True, metadata=option(bool, None, "Be quiet."))
    fast: bool = field(default=False, metadata=option(bool, None, "Be fast."))
    shade: str | None = field(default=None, metadata=option(str, "NAME", "Its colour."))
    unsaid: int = 0

    def __post_init__(self) -> None:
        read_fields(self)


def test_a_field_gives_flags_and_default() -> None:
    found = {name: (each.flags, each.default) for name, each in options_of(Asked).items()}
    assert found == {
        "size": (("--size",), 3),
        "where": (("--output", "-o"), Path()),
        "words": (("--words",), None),  # no word that could be typed
        "loud": (("--no-loud",), False),
        "fast": (("--fast",), False),
        "shade": (("--shade",), None),
    }


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ({}, Asked()),
        ({"size": None, "words": [], "shade": None}, Asked()),
        ({"size": 5, "fast": True}, Asked(size=5, fast=True)),
        ({"loud": True}, Asked(loud=False)),
        ({"loud": False}, Asked(loud=True)),
        ({"words": ["b", "c"], "where": Path("x")}, Asked(words=("b", "c"), where="x")),
    ],
)
def test_what_is_typed(typed: dict[str, object], expected: Asked) -> None:
    assert request_of(Asked, typed) == expected


def test_fields_hold_what_they_were_given_for() -> None:
    words: Any = ["b", "c"]
    asked = Asked(words=words, where="x")
    assert asked.words == ("b", "c") and asked.where == Path("x")


def test_every_field_of_the_export_is_an_option() -> None:
    assert {each.name for each in fields(ExportRequest)} - set(options_of(ExportRequest)) == FOR_PYTHON


@pytest.mark.parametrize("command", ["export", "sensitivity"])
def test_help_is_made_from_the_fields(command: str, run: Run) -> None:
    """In their order, with their words and defaults; what else is there is the command's own."""
    text = run(command, "--help", env={"COLUMNS": "240"}).stdout
    text = re.sub(r"\n {28}", " ", text)
    shown = re.findall(r"^  (?:-\w, )?(--[a-z-]+) ", text, re.MULTILINE)
    options = {each.flags[0]: each for each in options_of(ExportRequest).values()}
    ours = [flag for flag in options if flag in shown]
    assert [flag for flag in shown if flag in options] == ours
    assert len(ours) == {"export": len(options), "sensitivity": 8}[command]
    for flag in ours:
        (line,) = [line for line in text.splitlines() if re.match(rf"  (-\w, )?{flag} ", line)]
        assert options[flag].help in line
        default = options[flag].default
        said = "" if default is None or default is False else f"[default: {default}]"
        assert said in line and ("[default: " in line) == bool(said)


@pytest.mark.parametrize(
    ("given", "attribute", "expected"),
    [
        ({"formats": "onnx"}, "formats", ("onnx",)),
        ({"quantize": ["fp16", "int8"]}, "quantize", ("float16", "int8")),
        ({"quantize": "half"}, "quantize", ("float16",)),
        ({"quantize": "fp32"}, "quantize", ()),
        ({"formats": ["tflite", "all"]}, "formats", ("onnx", "tflite")),
        ({"quantize": ["none"]}, "quantize", ()),
        ({"quantize": ()}, "quantize", ()),
        ({"quantize": None}, "quantize", None),
        ({"image_size": 128}, "image_size", (128, 128)),
        ({"image_size": "128x64"}, "image_size", (128, 64)),
        ({"output": "there"}, "output", Path("there")),
        ({"weights": Path("there")}, "weights", "there"),
        ({"evaluation": "there", "ignore": ["3,4", "5"]}, "ignore", (3, 4, 5)),
        ({"evaluation": "there", "ignore": [3]}, "ignore", (3,)),
    ],
)
def test_python_may_say_it_as_it_is_typed(given: dict[str, Any], attribute: str, expected: object) -> None:
    assert getattr(ExportRequest(**given), attribute) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"formats": ("onx",)}, "unknown --format 'onx'. Did you mean 'onnx'?"),
        ({"formats": ()}, "unknown --format ''"),
        ({"quantize": "int9"}, "unknown --quantize 'int9'. Did you mean 'int8'?"),
        ({"quantize": ("none", "int8")}, "--quantize none excludes int8"),
        ({"io": "images"}, "unknown --io 'images'. Did you mean 'image'?"),
        ({"output_kind": "masks"}, "unknown --output-kind 'masks'. Did you mean 'mask'?"),
        ({"image_size": "big"}, "--image-size is 'big'"),
        ({"image_size": 100}, "image size 100 is not usable"),
        ({"ignore": ["x"]}, "--ignore is 'x'"),
        ({"ignore": [300]}, "--ignore names the index 300"),
        ({"weights": 3}, "weights is a int, accepted: auto, demo, untrained, a hub id"),
        ({"name": "mine"}, "name is for a torch module in memory; --weights auto has its own"),
        ({"weights": nn.Identity(), "weights_key": "ema"}, "--weights-key ema is for a file; a torch module holds one"),
        ({"preprocess": {}}, "preprocess is for a torch module in memory"),
    ],
)
def test_python_is_refused_as_the_command_line_is(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        ExportRequest(**given)
    assert message in str(refused.value)


ONNX = {"formats": "onnx"}


def _read(words: tuple[str, ...]) -> dict[str, object]:
    """As the command line reads them."""
    named = {flag: (name, each) for name, each in options_of(ExportRequest).items() for flag in each.flags}
    typed: dict[str, Any] = {}
    waiting = list(words)
    while waiting:
        name, each = named[waiting.pop(0)]
        if each.kind is list:
            typed.setdefault(name, []).append(waiting.pop(0))
        else:
            typed[name] = True if each.kind is bool else each.kind(waiting.pop(0))
    return typed


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "--format all --quantize int8"),
        ({"formats": ("ort", "all"), "quantize": "none"}, "--format all --format ort --quantize none"),
        ({**ONNX, "opset": 17, "dynamic_batch": True}, "--format onnx --opset 17 --dynamic-batch --quantize none"),
        ({**ONNX, "io": "tensor", "variant": "0.5"}, "--format onnx --io tensor --quantize none"),
        ({**ONNX, "image_size": 64}, "--format onnx --image-size 64x64 --quantize none"),
        ({**ONNX, "resize": (70, 80)}, "--format onnx --resize 70x80 --quantize none"),
        ({**ONNX, "resize": "none", "crop": "96x64"}, "--format onnx --resize none --crop 96x64 --quantize none"),
        (
            {**ONNX, "channel_order": "RGB", "resample": "bicubic", "arithmetic": "ml-cvnets"},
            "--format onnx --channel-order RGB --resample bicubic --arithmetic ml-cvnets --quantize none",
        ),
        (
            {"labels": "/home/me/names.txt", "calibration": "/home/me/photos", "calibration_samples": 9, "seed": 3},
            "--format all --labels LABELS --quantize int8 --calibration CALIBRATION --calibration-samples 9 --seed 3",
        ),
        (
            {**ONNX, "evaluation": "x", "split": "val", "ignore": [0, 11], "reduce_labels": True},
            "--format onnx --quantize none --eval EVALUATION --split val --ignore 0 --ignore 11 --reduce-labels",
        ),
        (
            {"learning_steps": 0, "min_agreement": 0.9, "force": True, "prove": ["qnn-htp:8gen2", "fp16"]},
            "--format all --quantize int8 --learning-steps 0 --min-agreement 0.9 --force --prove qnn-htp:8gen2 "
            "--prove fp16",
        ),
        (
            {"weights_key": "ema", "weights": "m.pth", "task": "segment", "evaluation": "x", "max_drop": 0.5},
            "--task segment --format all --weights-key ema --quantize int8 --eval EVALUATION --max-drop 0.5",
        ),
        ({"output": "there", "overwrite": True, "report": False}, "--format all --quantize int8"),
    ],
)
def test_what_is_typed_again(given: dict[str, Any], expected: str) -> None:
    """All that the files depend on, nothing of where they were made; and read again it is the same request."""
    request = ExportRequest(**given)
    typed, wanted = (sorted(f" {words}".split(" --")) for words in (" ".join(request.typed), expected))
    assert typed == wanted
    assert request_of(ExportRequest, {**_read(request.typed), "weights": request.weights}).typed == request.typed


def test_every_option_is_recorded_or_is_said_elsewhere() -> None:
    unrecorded = {name for name, each in options_of(ExportRequest).items() if not each.recorded}
    assert unrecorded == {"variant", "weights", "output", "overwrite", "report"}


def test_what_cannot_be_printed_is_not_recorded() -> None:
    typed = ExportRequest(weights="m.pth", weights_key="a\x1b[2J\nb").typed
    assert typed[typed.index("--weights-key") + 1] == "a?[2J?b"
