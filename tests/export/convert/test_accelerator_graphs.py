"""What accelerators ask of the files, read off the graphs: each of these was a fault that no check on a CPU saw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema

from mvit2.tflite_file import read_tflite

OP = schema.BuiltinOperator
TFLITE = [
    ("demo_bundle", "model_float32.tflite"),
    ("demo_bundle", "model_float16.tflite"),
    ("int8_bundle", "model_int8.tflite"),
    ("int8_bundle", "model_dynamic.tflite"),
    ("int8_bundle", "model_full_int8.tflite"),
]


def _operators(file: Path, *codes: int) -> Iterator[tuple[Any, Any, Any]]:
    """(model, graph, operator) of those with one of ``codes``."""
    model = read_tflite(file)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode in codes:
            yield model, graph, operator


@pytest.mark.parametrize(
    ("bundle", "file"), [("demo_bundle", "model_float32.onnx"), ("int8_bundle", "model_int8.onnx")]
)
def test_pixels_are_dequantised_not_cast(bundle: str, file: str, request: pytest.FixtureRequest) -> None:
    """Qualcomm's provider compiles a Cast of a uint8 input as one to bool: every image gets the same class."""
    graph = onnx.load(request.getfixturevalue(bundle) / file).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    (entry,) = [node for node in graph.node if graph.input[0].name in node.input]
    assert entry.op_type == "DequantizeLinear" and constants[entry.input[2]] == 0
    assert constants[entry.input[1]] == (1 if "float32" in file else np.float32(1 / 255))
    assert "Cast" not in {node.op_type for node in graph.node}


@pytest.mark.parametrize(("bundle", "file"), TFLITE)
def test_linear_layers_compute_on_maps(bundle: str, file: str, request: pytest.FixtureRequest) -> None:
    """LiteRT's GPU accelerator refuses int8 layers that compute on one row a pixel; the classifier's vector is none."""
    shapes = [
        graph.tensors[layer.outputs[0]].shape
        for _, graph, layer in _operators(request.getfixturevalue(bundle) / file, OP.FULLY_CONNECTED)
    ]
    assert len(shapes) == 55  # 54 in the transformers, and the classifier
    assert [list(shape) for shape in shapes if len(shape) != 4] == [[1, 20]]


def test_means_reduce_the_pixels_first(int8_bundle: Path) -> None:
    """Ethos-U's compiler takes a mean over channels of a single pixel only."""
    first_means = 0
    for model, graph, mean in _operators(int8_bundle / "model_full_int8.tflite", OP.MEAN):
        axes = np.frombuffer(model.buffers[graph.tensors[mean.inputs[1]].buffer].data.tobytes(), np.int32)
        shape = graph.tensors[mean.inputs[0]].shape
        if {int(axis) % len(shape) for axis in axes} == {3}:
            assert list(shape[:3]) == [1, 1, 1]
        else:
            first_means += 1
    assert first_means == 43  # two a norm, and the pooling
