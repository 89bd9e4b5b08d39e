"""The edits of an ONNX graph that its int8 rewrite needs: who reads what, new nodes and constants."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from mvit2.errors import ConversionError

__all__ = ["Constant", "OnnxEdit", "new_node", "set_inputs"]

Constant = NDArray[np.float32] | NDArray[np.int8] | NDArray[np.int32] | NDArray[np.int64] | NDArray[np.uint8]


@dataclass
class OnnxEdit:
    """A graph whose ``nodes`` are changed in a list of their own until ``_finish``."""

    graph: onnx.GraphProto
    nodes: list[NodeProto] = field(init=False)
    constants: dict[str, list[int]] = field(init=False)  # name -> shape

    def __post_init__(self) -> None:
        self.nodes = list(self.graph.node)
        self.constants = {tensor.name: list(tensor.dims) for tensor in self.graph.initializer}

    def _reader(self, tensors: list[str], kind: str) -> NodeProto:
        found = [node for node in self.nodes if node.op_type == kind and set(node.input) & set(tensors)]
        if len(found) != 1:
            raise ConversionError(f"{len(found)} {kind} nodes read {tensors[0]}, the network has 1.")
        return found[0]

    def _replace(self, old: NodeProto, new: Iterable[NodeProto]) -> None:
        at = next(index for index, node in enumerate(self.nodes) if node is old)
        self.nodes[at : at + 1] = new

    def _constant(self, name: str, values: Constant) -> str:
        """A new initialiser; equal names stand for equal values."""
        if name not in self.constants:
            self.graph.initializer.append(numpy_helper.from_array(values, name))
            self.constants[name] = list(values.shape)
        return name

    def _finish(self, nodes: Iterable[NodeProto]) -> None:
        """Give the graph these nodes, and of the constants those that they read."""
        nodes = list(nodes)
        read = {name for node in nodes for name in node.input}
        del self.graph.node[:]
        self.graph.node.extend(node for node in nodes if node.op_type != "Constant" or node.output[0] in read)
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)


def new_node(kind: str, inputs: list[str], output: str, **attributes: float | Sequence[int]) -> NodeProto:
    node = helper.make_node(kind, inputs, [output], name=f"{output}_{kind}")
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return node


def set_inputs(node: NodeProto, inputs: list[str]) -> None:
    del node.input[:]
    node.input.extend(inputs)
