"""Every fault of an export that a CPU does not see, put back into a model file whatever the export writes today.

Each function changes a file in place; on the CPU it computes what it did before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mvit2.tflite_file import read_tflite, write_tflite

_SUM = 3  # the channel axis of NHWC


def cast_input(file: Path) -> None:
    """uint8 input -> Cast(float): Qualcomm's compiler reads it as a cast to bool."""
    model = onnx.load(file)
    node = _reads_input(model)
    if node.op_type == "DequantizeLinear":
        scale = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == node.input[1])
        _replace_node(model, node, _cast_and_scale(node, float(scale)))
    onnx.save(model, file)


def _reads_input(model: Any) -> Any:
    name = model.graph.input[0].name
    return next(node for node in model.graph.node if name in node.input)


def _cast_and_scale(node: Any, scale: float) -> list[Any]:
    values = helper.make_tensor("fault_scale_value", TensorProto.FLOAT, [], [scale])
    return [
        helper.make_node("Cast", [node.input[0]], ["fault_cast"], to=TensorProto.FLOAT, name="/fault/Cast"),
        helper.make_node("Constant", [], ["fault_scale"], value=values),
        helper.make_node("Mul", ["fault_cast", "fault_scale"], list(node.output), name="/fault/Mul"),
    ]


def _replace_node(model: Any, node: Any, others: list[Any]) -> None:
    index = list(model.graph.node).index(node)
    del model.graph.node[index]
    for offset, other in enumerate(others):
        model.graph.node.insert(index + offset, other)


def large_norm(file: Path, block: str = "encoder/layer.3/layernorm", factor: float = 64.0) -> None:
    """What a norm takes times ``factor``: the norm does not see it, but float16 has no number for the square."""
    model = onnx.load(file)
    first = next(n for n in model.graph.node if n.op_type == "ReduceMean" and f"/{block}/" in n.name)
    scope, source = first.name.rpartition("/")[0], first.input[0]
    value = helper.make_tensor("fault_factor_value", TensorProto.FLOAT, [], [factor])
    larger = [
        helper.make_node("Constant", [], ["fault_factor"], value=value),
        helper.make_node("Mul", [source, "fault_factor"], ["fault_large"], name=f"{scope}/Large"),
    ]
    index = list(model.graph.node).index(first)
    for node in model.graph.node:
        if node.name.startswith(f"{scope}/"):
            node.input[:] = ["fault_large" if name == source else name for name in node.input]
    for offset, node in enumerate(larger):
        model.graph.node.insert(index + offset, node)
    onnx.save(model, file)


def _code(model: Any, operator: Any) -> int:
    code = model.operatorCodes[operator.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))


def flat_layers(file: Path) -> int:
    """The feed-forward layers' maps as [H * W, C]: LiteRT's GPU refuses such int8 files. Returns how many there are."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    model = read_tflite(file)
    graph = model.subgraphs[0]
    tensors, flat = graph.tensors, 0
    for operator in graph.operators:
        if _code(model, operator) != BuiltinOperator.FULLY_CONNECTED:
            continue
        entry, result = tensors[operator.inputs[0]], tensors[operator.outputs[0]]
        if len(entry.shape) == 4 and entry.shape[1] * entry.shape[2] > 1:
            if operator.builtinOptions.keepNumDims:
                _flatten(model, graph, operator)
            flat += 1
        else:
            flat += len(result.shape) == 2 and int(result.shape[0]) > 1
    write_tflite(model, file)
    return flat


def _flatten(model: Any, graph: Any, operator: Any) -> None:
    """A layer that keeps four dimensions -> one that returns two, and a RESHAPE back."""
    from copy import deepcopy

    from ai_edge_litert import schema_py_generated as schema

    from mvit2.tflite_file import operator_code

    whole = operator.outputs[0]
    shape = [int(n) for n in graph.tensors[whole].shape]
    flat = deepcopy(graph.tensors[whole])
    flat.name, flat.shape, flat.shapeSignature = flat.name + b"_flat", [shape[1] * shape[2], shape[3]], None
    graph.tensors.append(flat)
    operator.builtinOptions.keepNumDims = False
    operator.outputs = [len(graph.tensors) - 1]
    target = schema.BufferT()
    target.data = np.array(shape, np.int32).view(np.uint8)
    model.buffers.append(target)
    size = schema.TensorT()
    size.name, size.shape, size.type = flat.name + b"_shape", [4], schema.TensorType.INT32
    size.buffer = len(model.buffers) - 1
    graph.tensors.append(size)
    back = schema.OperatorT()
    back.opcodeIndex = operator_code(model, schema.BuiltinOperator.RESHAPE, 1)
    back.inputs, back.outputs = [operator.outputs[0], len(graph.tensors) - 1], [whole]
    graph.operators.insert(graph.operators.index(operator) + 1, back)


def channels_first(file: Path) -> int:
    """MEANs of a norm over the channels before H and W: Ethos-U has no such unit. Returns how many pairs there are."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    model = read_tflite(file)
    graph, pairs = model.subgraphs[0], 0
    readers: dict[int, list[Any]] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            readers.setdefault(int(index), []).append(operator)
    for first in graph.operators:
        if _code(model, first) != BuiltinOperator.MEAN:
            continue
        after = readers.get(int(first.outputs[0]), [])
        if len(after) != 1 or _code(model, after[0]) != BuiltinOperator.MEAN:
            continue
        pairs += 1
        if _axes(model, graph, first) != [_SUM]:
            _swap_axes(graph, first, after[0])
    write_tflite(model, file)
    return pairs


def _axes(model: Any, graph: Any, operator: Any) -> list[int]:
    data = model.buffers[graph.tensors[operator.inputs[1]].buffer].data
    return [int(axis) % 4 for axis in np.frombuffer(bytes(data), np.int32)]


def _swap_axes(graph: Any, first: Any, second: Any) -> None:
    first.inputs, second.inputs = list(first.inputs), list(second.inputs)
    first.inputs[1], second.inputs[1] = second.inputs[1], first.inputs[1]
    shape = [int(n) for n in graph.tensors[first.inputs[0]].shape]
    between = graph.tensors[first.outputs[0]]
    between.shape, between.shapeSignature = [*shape[:3], 1], None
