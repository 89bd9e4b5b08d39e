"""The fastest that an engine computes on this machine: a plain matrix product with constant weights, as a model.

What a network is held against: it cannot do more multiply-accumulates in a second than that, since its convolutions are
matrix products with something around them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import Engine
from mvit2.errors import MissingEngineError
from mvit2.tflite_file import operator_code, write_tflite

__all__ = ["MACS", "write_product"]

# Among the shapes tried, 256 to 4096 rows and 64 to 1024 columns, none is faster by more than 1 %.
_ROWS, _INNER, _COLUMNS = 1024, 512, 512
MACS = _ROWS * _INNER * _COLUMNS


def write_product(engine: Engine, int8: bool, folder: Path) -> Path:
    """Write the model file of an engine's product, float32 or int8 with int8 weights per channel.

    Raises MissingEngineError: an ONNX file cannot be written without the package onnx.
    """
    random = np.random.default_rng(0)
    kind = "int8" if int8 else "float32"
    if engine == "litert":
        file = folder / f"product_{kind}.tflite"
        write_tflite(_tflite_int8(random) if int8 else _tflite_float32(random), file)
        return file
    file = folder / f"product_{kind}.onnx"
    file.write_bytes(_onnx(random, int8).SerializeToString())
    return file


def _onnx(random: np.random.Generator, int8: bool) -> Any:
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise MissingEngineError("onnx", "export") from None

    constants: dict[str, NDArray[Any]]
    if int8:
        scale, zero = np.array(0.02, np.float32), np.array(128, np.uint8)
        constants = {
            "scale": scale,
            "zero": zero,
            "weights": random.integers(-127, 128, (_INNER, _COLUMNS), np.int8),
            "weights_scale": np.full(_COLUMNS, 0.02, np.float32),
            "weights_zero": np.zeros(_COLUMNS, np.int8),
        }
        names = ["x", "scale", "zero", "weights", "weights_scale", "weights_zero", "scale", "zero"]
        node, kind = helper.make_node("QLinearMatMul", names, ["y"]), TensorProto.UINT8
    else:
        constants = {"weights": random.standard_normal((_INNER, _COLUMNS), np.float32)}
        node, kind = helper.make_node("MatMul", ["x", "weights"], ["y"]), TensorProto.FLOAT
    x = helper.make_tensor_value_info("x", kind, [_ROWS, _INNER])
    y = helper.make_tensor_value_info("y", kind, [_ROWS, _COLUMNS])
    initializers = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph([node], "product", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _tflite_float32(random: np.random.Generator) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    weights = random.standard_normal((_COLUMNS, _INNER), np.float32)
    return _fully_connected(schema.TensorType.FLOAT32, weights, np.zeros(_COLUMNS, np.float32), version=1)


def _tflite_int8(random: np.random.Generator) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    weights = random.integers(-127, 128, (_COLUMNS, _INNER), np.int8)
    model = _fully_connected(schema.TensorType.INT8, weights, np.zeros(_COLUMNS, np.int32), version=5)
    x, w, b, y = model.subgraphs[0].tensors
    for tensor, scale in ((x, [0.02]), (w, [0.02] * _COLUMNS), (b, [0.0004] * _COLUMNS), (y, [0.5])):
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = scale, [0] * len(scale)
    b.type = schema.TensorType.INT32
    return model


def _fully_connected(kind: int, weights: NDArray[Any], bias: NDArray[Any], version: int) -> Any:
    """A ModelT with one operator; its tensors are x, weights, bias, y."""
    from ai_edge_litert import schema_py_generated as schema

    model, graph, operator = schema.ModelT(), schema.SubGraphT(), schema.OperatorT()
    model.version, model.operatorCodes, model.subgraphs = 3, [], [graph]
    model.buffers = [schema.BufferT(), _buffer(weights), _buffer(bias)]
    shapes = {"x": (_ROWS, _INNER), "weights": weights.shape, "bias": bias.shape, "y": (_ROWS, _COLUMNS)}
    graph.tensors = []
    for name, shape in shapes.items():
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode(), list(shape), kind
        tensor.buffer = {"weights": 1, "bias": 2}.get(name, 0)
        graph.tensors.append(tensor)
    operator.opcodeIndex = operator_code(model, schema.BuiltinOperator.FULLY_CONNECTED, version)
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    graph.operators, graph.inputs, graph.outputs = [operator], [0], [3]
    return model


def _buffer(values: NDArray[Any]) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    return buffer
