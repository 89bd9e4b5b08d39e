"""A norm over the whole map as one operator instead of nine.

torch's exporter writes GlobalNorm as two means in two steps each and five operators between them. ONNX Runtime walks
over the map once for each, and in an int8 file, whose layers are cheap, that is a tenth of the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, numpy_helper

from .onnx_graph import OnnxEdit, new_node

__all__ = ["join_norms"]

_RANK = 4


@dataclass(frozen=True)
class _Norm:
    """``nodes`` compute (x - mean) / sqrt(variance + epsilon); the last of them puts out the result."""

    x: str
    epsilon: float
    nodes: tuple[NodeProto, ...]


def join_norms(edit: OnnxEdit, sizes: Mapping[str, Sequence[int]]) -> None:
    """Replace every mean-and-variance norm over [height, width, channels] by InstanceNormalization over one row.

    Args:
        sizes: tensor -> its shape, 0 where a dimension is open.
    """
    single = (tensor for tensor in edit.graph.initializer if math.prod(tensor.dims) == 1)  # an epsilon is among them
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in single}
    values.update((n.output[0], numpy_helper.to_array(n.attribute[0].t)) for n in edit.nodes if n.op_type == "Constant")
    for norm in list(_norms(edit.nodes, sizes, values)):
        *inner, last = norm.nodes
        row, normal, result = f"{last.output[0]}_row", f"{last.output[0]}_normal", last.output[0]
        flat = edit._constant("norm_row", np.array([0, 1, -1]))  # 0: as it is
        _, height, width, channels = sizes[norm.x]
        shape = edit._constant(f"norm_{height}_{width}_{channels}", np.array([0, height, width, channels]))
        gain = edit._constant("norm_gain", np.ones(1, np.float32))
        shift = edit._constant("norm_shift", np.zeros(1, np.float32))
        for node in inner:
            edit._replace(node, [])
        edit._replace(
            last,
            [
                new_node("Reshape", [norm.x, flat], row),
                new_node("InstanceNormalization", [row, gain, shift], normal, epsilon=norm.epsilon),
                new_node("Reshape", [normal, shape], result),
            ],
        )


def _norms(
    nodes: Sequence[NodeProto], sizes: Mapping[str, Sequence[int]], values: Mapping[str, np.ndarray]
) -> Iterator[_Norm]:
    writers = {node.output[0]: node for node in nodes}
    readers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    for node in (node for node in nodes if node.op_type == "Sub"):
        x, mean = node.input
        if _is_map(sizes.get(x)) and list(sizes.get(mean, ()))[1:] == [1, 1, 1]:
            means = _means(x, mean, writers)
            tail = _tail(node, readers)
            if means and tail is not None:
                (epsilon,) = [name for name in tail[-4].input if name in values]
                yield _Norm(x, float(values[epsilon]), (*means, node, *tail))


def _is_map(size: Sequence[int] | None) -> bool:
    return size is not None and len(size) == _RANK and all(size[1:])


def _means(x: str, mean: str, writers: Mapping[str, NodeProto]) -> list[NodeProto]:
    """The ReduceMeans from ``x`` to ``mean``; empty where something else computes it."""
    found: list[NodeProto] = []
    while mean != x:
        node = writers.get(mean)
        if node is None or node.op_type != "ReduceMean":
            return []
        found.insert(0, node)
        mean = node.input[0]
    return found


def _tail(sub: NodeProto, readers: Mapping[str, list[NodeProto]]) -> list[NodeProto] | None:
    """From x - mean on: its square, that one's means, + epsilon, root, reciprocal, product."""
    centred = sub.output[0]
    square = [node for node in readers[centred] if node.op_type == "Mul" and set(node.input) == {centred}]
    if len(square) != 1:
        return None
    chain = square
    while (last := chain[-1]).op_type != "Mul" or last is square[0]:
        following = readers.get(last.output[0], [])
        if len(following) != 1:
            return None
        chain = [*chain, following[0]]
    kinds = [node.op_type for node in chain]
    steps = kinds[kinds.count("ReduceMean") + 1 :]
    return chain if steps == ["Add", "Sqrt", "Div", "Mul"] and centred in chain[-1].input else None
