"""What can be asked of an export, and how the impossible is refused, without a library being loaded."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from mvit2.errors import UsageError
from mvit2.export.parsers import parse_formats, parse_image_size, parse_io
from mvit2.export.request import ExportRequest


def refused(message: str) -> Any:
    """UsageError of exactly these words, on one line, ending the command with 2."""
    assert "\n" not in message and UsageError.exit_code == 2
    return pytest.raises(UsageError, match=f"^{message}$")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["onnx"], ("onnx",)),
        (["tflite"], ("tflite",)),
        (["all"], ("onnx", "tflite")),
        (["tflite", "onnx"], ("onnx", "tflite")),
        (["onnx", "onnx"], ("onnx",)),
        (["ort"], ("ort",)),
        (["ort", "all"], ("onnx", "tflite", "ort")),
        (["tflite", "all"], ("onnx", "tflite")),
    ],
)
def test_formats(words: list[str], expected: tuple[str, ...]) -> None:
    assert parse_formats(words) == expected


@pytest.mark.parametrize(
    ("word", "hint"),
    [("tflte", " Did you mean 'tflite'?"), ("ONNX", " Did you mean 'onnx'?"), ("xyz", ""), ("", "")],
)
def test_formats_refuse(word: str, hint: str) -> None:
    with refused(rf"unknown --format '{word}'\.{hint.replace('?', '[?]')} Choose onnx, tflite, ort or all\."):
        parse_formats(["onnx", word])


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("256", (256, 256)), ("192x256", (192, 256)), ("192X256", (192, 256)), ("-64", (-64, -64))],
)
def test_image_size(text: str | None, expected: tuple[int, int] | None) -> None:
    """Height first; whether the numbers make sense is the request's business."""
    assert parse_image_size(text) == expected


@pytest.mark.parametrize("text", ["", "abc", "64x", "x64", "64x64x64", "64.5", "64,64", "256px"])
def test_image_size_refuses(text: str) -> None:
    with refused(f"--image-size is '{text}', accepted: one number of pixels, or HEIGHTxWIDTH such as 256x192[.]"):
        parse_image_size(text)


@pytest.mark.parametrize("word", ["image", "tensor"])
def test_io(word: str) -> None:
    assert parse_io(word) == word


@pytest.mark.parametrize(("word", "hint"), [("tensors", " Did you mean 'tensor'[?]"), ("xyz", ""), ("", "")])
def test_io_refuses(word: str, hint: str) -> None:
    with refused(rf"unknown --io '{word}'\.{hint} Choose image or tensor\."):
        parse_io(word)


@pytest.mark.parametrize(
    ("options", "attribute", "expected"),
    [
        ({}, "formats", ("onnx", "tflite")),
        ({}, "tensor_names", ("image", "scores")),
        ({"io": "tensor"}, "tensor_names", ("pixel_values", "logits")),
        ({"variant": "1"}, "variant", "1.0"),
        ({"variant": "0.50"}, "variant", "0.5"),
        ({"variant": None}, "variant", None),
        ({"image_size": (64, 1024)}, "image_size", (64, 1024)),
        ({"opset": 13}, "opset", 13),
        ({"opset": 20}, "opset", 20),
        ({"dynamic_batch": True, "formats": ("onnx",)}, "dynamic_batch", True),
    ],
)
def test_accepted(options: dict[str, Any], attribute: str, expected: object) -> None:
    request = ExportRequest(**options)
    assert getattr(request, attribute) == expected
    with pytest.raises(FrozenInstanceError):
        request.opset = 17


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"variant": "1.1"},
            r"unknown variant '1.1': did you mean 1\.0 or 1\.25\? Choose one of 0\.5, .*, 2\.0, .*, small\.",
        ),
        ({"variant": "big"}, r"unknown variant 'big'; choose one of 0\.5, .*, 2\.0, .*, small\."),
        ({"opset": 12}, r"--opset is 12, accepted: 13 to 20\."),
        ({"opset": 21}, r"--opset is 21, accepted: 13 to 20\."),
        ({"dynamic_batch": True}, "--dynamic-batch is for ONNX; TFLite takes one image: add --format onnx[.]"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with refused(message):
        ExportRequest(**options)


@pytest.mark.parametrize(
    ("edge", "nearest"),
    [(0, 64), (-64, 64), (32, 64), (100, 96), (255, 256), (224 + 16, 224), (1025, 1024), (100_000, 1024)],
)
@pytest.mark.parametrize("other", [256, None])
def test_edges_that_the_encoder_cannot_halve_five_times(edge: int, nearest: int, other: int | None) -> None:
    size = (edge, edge) if other is None else (other, edge)
    accepted = "accepted are multiples of 32 from 64 to 1024"
    with refused(f"image size {edge} is not usable: {accepted}; the nearest is {nearest}[.]"):
        ExportRequest(image_size=size)
