"""The edits of a TFLite graph that every int8 rewrite needs: new tensors and operators, types, who computes what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mvit2.quantize.plan import Range
from mvit2.tflite_file import operator_code
from mvit2.tflite_types import Graph, Model, Operator, Quantization, Tensor

__all__ = ["Constant", "GraphEdit", "bias_steps"]

Constant = NDArray[np.float32] | NDArray[np.int8] | NDArray[np.int32]

_TYPES = {
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
    "float32": schema.TensorType.FLOAT32,
}
_LARGEST_BIAS = 2.0**31 - 128  # the largest float32 below int32's end


def bias_steps(bias: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.int32]:
    """int32 biases in multiples of ``scale`` (of the input times that of the weights)."""
    steps = np.rint(bias / scale.astype(np.float64))
    return np.clip(steps, -_LARGEST_BIAS, _LARGEST_BIAS).astype(np.int32)


@dataclass
class GraphEdit:
    """A ModelT of one graph; tensors are called by their index."""

    model: Model

    @property
    def graph(self) -> Graph:
        return self.model.subgraphs[0]

    def _code(self, operator: Operator) -> int:
        return int(self.model.operatorCodes[operator.opcodeIndex].builtinCode)

    def _producer(self, tensor: int) -> Operator | None:
        return next((op for op in self.graph.operators if tensor in list(op.outputs)), None)

    def _is_activation(self, tensor: int) -> bool:
        return tensor >= 0 and self.model.buffers[self.graph.tensors[tensor].buffer].data is None

    def _values(self, tensor: int) -> NDArray[np.float32]:
        """Of a float32 constant."""
        old = self.graph.tensors[tensor]
        data = np.asarray(self.model.buffers[old.buffer].data, np.uint8).tobytes()
        return np.frombuffer(data, np.float32).reshape([int(d) for d in np.atleast_1d(old.shape)])

    def _set_type(self, tensor: int, quantisation: Range) -> None:
        self._describe(tensor, [quantisation.scale], [quantisation.zero_point], 0)
        self.graph.tensors[tensor].type = schema.TensorType.INT8

    def _describe(self, tensor: int, scales: list[float], zero_points: list[int], axis: int) -> None:
        quantisation: Quantization = schema.QuantizationParametersT()
        quantisation.scale, quantisation.zeroPoint, quantisation.quantizedDimension = scales, zero_points, axis
        self.graph.tensors[tensor].quantization = quantisation

    def _constant(self, values: Constant, scales: NDArray[np.float32] | None, axis: int = 0) -> int:
        """A tensor of its own, for equal weights may share a buffer and yet differ in their scales."""
        shape = np.array(values.shape, np.int32)
        new = self._tensor(f"constant_{len(self.graph.tensors)}".encode(), shape, _TYPES[values.dtype.name], values)
        if scales is not None:
            self._describe(new, [float(s) for s in scales], [0] * len(scales), axis)
        return new

    def _tensor(
        self, name: bytes, shape: list[int] | NDArray[np.int32], kind: int, values: Constant | None = None
    ) -> int:
        tensor: Tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.hasRank, tensor.buffer = name, shape, kind, True, 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _like(self, tensor: int, suffix: bytes, kind: int = schema.TensorType.FLOAT32) -> int:
        old = self.graph.tensors[tensor]
        return self._tensor(old.name + suffix, old.shape, kind)

    def _operator(self, code: int, version: int, inputs: list[int], output: int) -> Operator:
        """Not yet in the graph."""
        operator: Operator = schema.OperatorT()
        operator.opcodeIndex = operator_code(self.model, code, version)
        operator.inputs, operator.outputs = inputs, [output]
        return operator
