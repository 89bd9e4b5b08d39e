"""The three cases in which onnx2tf exits 0 with a wrong model, each converted for real and compared with torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from mvit2.export.convert.contract import PixelContract
from mvit2.export.convert.fold import export_form
from mvit2.export.convert.onnx2tf_worker import is_reordered
from mvit2.export.convert.to_onnx import simplify, to_onnx
from mvit2.export.convert.to_tflite import to_tflite
from mvit2.image.preprocess import to_pixel_values
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.initialise import initialise
from mvit2.network.mobilevitv2 import MobileViTV2Classifier
from mvit2.network.mobilevitv2_config import ModelConfig
from mvit2.runtime.engines.litert import LiteRTBackend
from mvit2.runtime.tasks.compare import log_softmax

# One transformer layer a stage: the same shapes as the full network in a third of the time.
CONFIG = ModelConfig(width_multiplier=0.5, n_attn_blocks=(1, 1, 1), labels=tuple("abcdefghij"))


def make(size: int) -> tuple[onnx.ModelProto, NDArray[np.uint8], NDArray[np.float64]]:
    """A simplified ONNX model of the artifact contract, an image and the log-probabilities that torch gives it."""
    network = MobileViTV2Classifier(CONFIG)
    initialise(network, 5)
    spec = PreprocessSpec((size, size), None)
    image = np.random.default_rng(size).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(to_pixel_values(image, spec)))
    form = PixelContract(export_form(network, single_image=True), spec).eval()
    exported = to_onnx(form, torch.from_numpy(image), names=("image", "scores"), opset=18)
    return simplify(exported, {}), image, log_softmax(logits.numpy())


def error(file: Path, image: NDArray[np.uint8], expected: NDArray[np.float64]) -> float:
    """Max |difference| of log-probabilities."""
    return float(np.abs(np.log(LiteRTBackend(file).run(image)) - expected).max())


@pytest.mark.exports
@pytest.mark.parametrize(
    ("size", "case"),
    [
        (64, "maps of 2x2 and 4x4: (1, 2, 1, 2), (2, 2, 2, 2)"),
        (128, "1: the last map is 4x4, so the query is (2, 2, 2, 2)"),
        (512, "2: the map of layer 3 is (1, 64, 64, 64)"),
        (224, "3: the last map is 7x7 and is resized to 8x8 with align_corners"),
    ],
)
def test_converts_exactly(size: int, case: str, tmp_path: Path) -> None:
    model, image, expected = make(size)
    files = to_tflite(model, 1 / 255, tmp_path)
    assert error(files["float32"], image, expected) < 5e-5, case
    assert error(files["float16"], image, expected) < 1e-2, case


@pytest.mark.exports
def test_onnx2tf_alone_is_wrong(tmp_path: Path) -> None:
    """The day this fails, onnx2tf was repaired and the worker can go."""
    model, image, expected = make(128)
    onnx.save(model, tmp_path / "model.onnx")
    samples = tmp_path / "calibration_image_sample_data_20x128x128x3_float32.npy"  # else it would download them
    np.save(samples, np.zeros((20, 128, 128, 3), np.float32))
    command = [sys.executable, "-m", "onnx2tf", *["-i", "model.onnx", "-o", "out", "-kat", "image", "-nuo", "-n"]]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert error(tmp_path / "out" / "model_float32.tflite", image, expected) > 1e-3


@pytest.mark.parametrize(
    ("op", "inputs", "expected"),
    [
        ("Conv", [True], True),
        ("Conv", [False], True),
        ("Mul", [True, False], True),
        ("Add", [False, False], False),
        ("Sigmoid", [True], True),
        ("Transpose", [True], False),
        ("Reshape", [True], False),
        ("MatMul", [True], False),
    ],
)
def test_is_reordered(op: str, inputs: list[bool], expected: bool) -> None:
    assert is_reordered(op, inputs) is expected
