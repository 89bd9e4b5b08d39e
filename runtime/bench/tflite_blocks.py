"""A TFLite model cut into the blocks of its network, each a model of its own.

LiteRT's Python interpreter times no operator inside XNNPACK, which takes them all. What it times are whole models.

1. The convolutions and 1x1 layers of the graph are those of the network, in its order.
2. A block reaches from its first layer, with the normalisation or padding in front of it, to the next block's. What
   normalises before a 1x1 convolution therefore counts with that one.
3. What is computed from constants alone (weights kept as float16) goes along with whoever reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from mvit2.errors import BundleError
from mvit2.network.blocks import Block
from mvit2.tflite_file import prune, read_tflite, write_tflite

__all__ = ["write_segments"]

_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_BEGINNINGS = ("CONCATENATION", "MEAN", "PAD", "QUANTIZE", "RESIZE_BILINEAR")  # of a block, in front of its first layer
_LAYERS_OF: Mapping[str, int] = {  # others: one
    "inverted residual": 3,
    "transformer layer": 6,
    "normalisation": 0,
    "spatial pyramid": 7,
}


def write_segments(model: Path, blocks: Sequence[Block], folder: Path) -> dict[str, Path]:
    """Block name -> the model file of its part of ``model``, in the network's order.

    Raises BundleError: the graph is not that of a network with these blocks.
    """
    graph = _Graph(read_tflite(model))
    starts = graph.starts([block.name for block in blocks for _ in range(_LAYERS_OF.get(block.kind, 1))])
    if not starts:
        raise BundleError(f"{model} cannot be cut into blocks: its layers are not those of its manifest.")
    ends = [*list(starts.values())[1:], len(graph.operators)]
    files = {}
    for number, (block, end) in enumerate(zip(starts, ends, strict=True)):
        files[block] = folder / f"{number:02}_{block}.tflite"
        write_tflite(graph.cut(starts[block], end), files[block])
    return files


@cache
def _operator_names() -> Mapping[int, str]:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return {value: name for name, value in vars(BuiltinOperator).items() if name.isupper()}


class _Graph:
    """A ModelT of one graph whose operators are called by their place."""

    def __init__(self, model: Any) -> None:
        self.model, self.graph = model, model.subgraphs[0]
        self.operators = list(self.graph.operators)
        self.constants = {i for i, t in enumerate(self.graph.tensors) if model.buffers[t.buffer].data is not None}
        self.steady = []  # what is computed from constants alone
        for operator in self.operators:
            if all(int(t) < 0 or int(t) in self.constants for t in operator.inputs):
                self.steady.append(operator)
                self.constants |= {int(t) for t in operator.outputs}
        self.operators = [operator for operator in self.operators if operator not in self.steady]

    def starts(self, layers: Sequence[str]) -> dict[str, int]:
        """Block -> its first operator, for the blocks of each layer in turn; empty where there are other layers."""
        places = list(self._layers())
        if not layers or len(places) != len(layers):
            return {}
        found = {layers[0]: 0}
        for (_, before), (first, _), block in zip(places, places[1:], layers[1:], strict=False):
            if block not in found:
                between = range(before + 1, first)
                found[block] = next((i for i in between if self._name(self.operators[i]) in _BEGINNINGS), first)
        return found

    def _layers(self) -> Iterator[tuple[int, int]]:
        """First and last operator of each layer: two where a twin with the same weights computes gain * x."""

        def weights(place: int) -> tuple[int, int]:
            """What twins alone share: the stored weights; a tensor where they are computed from what is stored."""
            tensor = int(self.operators[place].inputs[1])
            buffer = int(self.graph.tensors[tensor].buffer)
            return buffer, 0 if self.model.buffers[buffer].data is not None else tensor

        places = [i for i, operator in enumerate(self.operators) if self._name(operator) in _LAYERS]
        for _, twins in groupby(places, key=weights):
            first, *others = twins
            yield first, others[-1] if others else first

    def _name(self, operator: Any) -> str:
        return _operator_names().get(self.model.operatorCodes[operator.opcodeIndex].builtinCode, "")

    def cut(self, start: int, end: int) -> Any:
        """A ModelT of the operators ``start`` to ``end`` alone, between the tensors that they read and give."""
        part, later = self.operators[start:end], self.operators[end:]
        made = {int(t) for operator in part for t in operator.outputs}
        read = dict.fromkeys(int(t) for operator in part for t in operator.inputs if t >= 0)
        needed = {int(t) for operator in later for t in operator.inputs} | {int(t) for t in self.graph.outputs}
        model, graph = copy(self.model), copy(self.graph)
        model.subgraphs, model.signatureDefs, model.metadata = [graph], None, None
        graph.inputs = [t for t in read if t not in made and t not in self.constants]
        graph.outputs = sorted(made & needed)
        weights = [operator for operator in self.steady if int(operator.outputs[0]) in read]
        graph.operators = [copy(operator) for operator in (*weights, *part)]
        graph.tensors = [copy(tensor) for tensor in self.graph.tensors]
        prune(model)
        return model
