"""An ONNX network beside itself in half precision, in one graph.

Weights and the result of every operator are rounded to float16; inside of an operator sums stay in float32, as
accelerators keep them. runtime/accelerators/fp16.py runs it; what ships imports no onnx, so the graph is made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import BundleError

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto

__all__ = ["Watched", "write_rehearsal"]

_EXACT, _HALF = "exact/", "half/"
_TENSORS_OF_INDICES = ("Shape", "Size", "Constant", "ConstantOfShape")


@dataclass(frozen=True)
class Watched:
    """A node whose figures are told: its name, which may hold its module's path, and its type."""

    name: str
    kind: str


def write_rehearsal(source: Path, target: Path) -> list[Watched]:
    """Write a model of both networks, the exact one and the half one; returns the nodes that it tells figures of.

    Its outputs are the half network's answer, then three for each node: max |exact|, max |difference|, and a sum that
    is NaN where the half network holds Inf or NaN.

    Raises BundleError: several inputs or outputs; and whatever onnx raises for what is no model.
    """
    import onnx
    from onnx import TensorProto, helper, shape_inference

    model = onnx.load(source)
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        raise BundleError("it has several inputs or outputs, accepted is one of each")
    kinds = _types(shape_inference.infer_shapes(model).graph)
    image, answer = model.graph.input[0], model.graph.output[0]
    half = _Half(model.graph.initializer, image.name)
    watched = []
    for node in model.graph.node:
        half.add(node, kinds)
        if kinds.get(node.output[0]) == TensorProto.FLOAT and node.op_type not in _TENSORS_OF_INDICES:
            watched.append(node)
    half.nodes.append(helper.make_node("Identity", [_HALF + answer.name], [_HALF + "answer"]))
    figures = [name for node in watched for name in half.watch(node.output[0])]
    outputs = [helper.make_tensor_value_info(_HALF + "answer", answer.type.tensor_type.elem_type, None)]
    outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in figures]
    graph = helper.make_graph(half.nodes, "rehearsal", [image], outputs, half.constants)
    both = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.save(both, str(target))
    return [Watched(node.name, node.op_type) for node in watched]


def _types(graph: GraphProto) -> Mapping[str, int]:
    values = (*graph.input, *graph.output, *graph.value_info)
    return {value.name: value.type.tensor_type.elem_type for value in values}


class _Half:
    """Both networks' nodes and constants, written side by side."""

    def __init__(self, constants: Iterable[TensorProto], image: str) -> None:
        from onnx import TensorProto, numpy_helper

        self.image = image
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        for tensor in constants:
            values = numpy_helper.to_array(tensor)
            rounded = values
            if tensor.data_type == TensorProto.FLOAT:
                with np.errstate(over="ignore"):
                    rounded = values.astype(np.float16).astype(np.float32)
            for prefix, array in ((_EXACT, values), (_HALF, rounded)):
                self.constants.append(numpy_helper.from_array(array, prefix + tensor.name))

    def _named(self, prefix: str, names: Sequence[str]) -> list[str]:
        return [name if name in ("", self.image) else prefix + name for name in names]

    def add(self, node: NodeProto, kinds: Mapping[str, int]) -> None:
        from onnx import NodeProto, TensorProto, helper

        for prefix in (_EXACT, _HALF):
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.name = prefix + node.name
            copy.input[:] = self._named(prefix, node.input)
            copy.output[:] = self._named(prefix, node.output)
            self.nodes.append(copy)
            if prefix == _EXACT:
                continue
            for index, name in enumerate(node.output):
                if kinds.get(name) == TensorProto.FLOAT:
                    wide, half = f"wide/{name}", f"narrow/{name}"
                    copy.output[index] = wide
                    self.nodes.append(helper.make_node("Cast", [wide], [half], to=TensorProto.FLOAT16))
                    self.nodes.append(helper.make_node("Cast", [half], [_HALF + name], to=TensorProto.FLOAT))

    def watch(self, name: str) -> list[str]:
        """Nodes that reduce a tensor to its three figures."""
        from onnx import helper

        def node(kind: str, inputs: list[str], **attributes: Any) -> str:
            output = f"figure{len(self.nodes)}"
            self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
            return output

        def largest(of: str) -> str:
            return node("ReduceMax", [node("Abs", [of])], keepdims=0)

        exact, half = _EXACT + name, _HALF + name
        nothing = node("Sub", [half, half])  # Inf and NaN less themselves are NaN
        return [largest(exact), largest(node("Sub", [half, exact])), node("ReduceSum", [nothing], keepdims=0)]
