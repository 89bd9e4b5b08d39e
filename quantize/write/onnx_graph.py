"""The edits of an ONNX graph that its int8 rewrite needs: who reads what, new nodes and constants."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from mvit2.errors import ConversionError

__all__ = ["OnnxEdit", "new_node", "set_inputs"]


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

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        """A new initialiser; equal names stand for equal values."""
        if name not in self.constants:
            self.graph.initializer.append(numpy_helper.from_array(values, name))
            self.constants[name] = list(values.shape)
        return name

    def _finish(self, nodes: Iterable[NodeProto]) -> None:
        """Give the graph these nodes, and of the constants those that they read."""
        del self.graph.node[:]
        self.graph.node.extend(nodes)
        read = {name for node in self.graph.node for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)


def new_node(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs, [output], name=f"{output}_{kind}", **attributes)


def set_inputs(node: NodeProto, inputs: list[str]) -> None:
    del node.input[:]
    node.input.extend(inputs)
