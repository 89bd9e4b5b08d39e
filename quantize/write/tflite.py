"""A plan written into a float32 TFLite model: int8 regions with float islands between them.

1. The layers of the plan are the CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED operators in graph order; their shapes
   must agree. What belongs to a layer (SiLU, residual addition) is found by walking the graph, never by a name.
2. Their weights become int8 per channel, their biases int32; the tensors of the plan become int8.
3. Padding, resizing and concatenation keep the quantisation of what they move.
4. Where int8 meets float a QUANTIZE or DEQUANTIZE is put. Input and output keep their types.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mvit2.errors import ConversionError
from mvit2.quantize.plan import SIGMOID, LayerPlan, Plan, Range
from mvit2.tflite_file import operator_code, prune
from mvit2.tflite_types import Model, Operator

from .tflite_graph import GraphEdit, bias_steps

__all__ = ["quantise_tflite"]

_OP = schema.BuiltinOperator
_LAYERS = (_OP.CONV_2D, _OP.DEPTHWISE_CONV_2D, _OP.FULLY_CONNECTED)
_KEEPS = (_OP.PAD, _OP.RESIZE_BILINEAR)
# The first versions of these operators that take int8, which old runtimes check.
_INT8_VERSIONS = {
    _OP.CONV_2D: 3,
    _OP.DEPTHWISE_CONV_2D: 3,
    _OP.FULLY_CONNECTED: 5,
    _OP.LOGISTIC: 2,
    _OP.MUL: 3,
    _OP.ADD: 2,
    _OP.PAD: 2,
    _OP.RESIZE_BILINEAR: 3,
    _OP.CONCATENATION: 2,
    _OP.QUANTIZE: 1,
    _OP.DEQUANTIZE: 2,
}
_DYNAMIC_VERSIONS = {_OP.CONV_2D: 5, _OP.DEPTHWISE_CONV_2D: 6, _OP.FULLY_CONNECTED: 12}


def quantise_tflite(model: Model, plan: Plan) -> None:
    """Rewrite a flatbuffer object (ai_edge_litert.schema_py_generated.ModelT) in place.

    Raises ConversionError when the graph is not that of the plan's network.
    """
    _Rewrite(model, plan).run()


@dataclass
class _Rewrite(GraphEdit):
    plan: Plan
    int8: dict[int, Range] = field(default_factory=dict)  # tensor -> its quantisation
    inputs: dict[int, Range] = field(default_factory=dict)  # float tensor -> how int8 layers want it
    # id of a layer's operator -> the operator that computes gain * x
    twins: dict[int, Operator] = field(default_factory=dict)

    def run(self) -> None:
        self.graph.operators = list(self.graph.operators)
        layers = self._layers()
        if len(layers) != len(self.plan.layers):
            raise ConversionError(f"the graph holds {len(layers)} layers, the network {len(self.plan.layers)}.")
        for operator, layer in zip(layers, self.plan.layers, strict=True):
            if layer.mode == "int8":
                self._mark(operator, layer)
        for operator, layer in zip(layers, self.plan.layers, strict=True):
            self._quantise_layer(operator, layer)
        for tensor, quantisation in self.int8.items():
            self._set_type(tensor, quantisation)
        self._connect()
        prune(self.model)

    def _layers(self) -> list[Operator]:
        """In the network's order: the graph's, but for layers side by side, which are in that of what joins them."""
        layers = [op for op in self.graph.operators if self._code(op) in _LAYERS]
        for joint in self.graph.operators:
            if self._code(joint) == _OP.CONCATENATION:
                branches = [self._producer(int(tensor)) for tensor in joint.inputs]
                side_by_side = [branch for branch in branches if branch in layers]
                if len(side_by_side) < len(branches):
                    continue  # such as a map and what a layer, with its SiLU, made of it
                for place, branch in zip(sorted(map(layers.index, side_by_side)), side_by_side, strict=True):
                    layers[place] = branch
        return layers

    def _readers(self, tensor: int, code: int) -> list[Operator]:
        return [op for op in self.graph.operators if tensor in list(op.inputs) and self._code(op) == code]

    def _mark(self, operator: Operator, layer: LayerPlan) -> None:
        """Say which tensors around a layer are int8."""
        assert layer.output is not None
        output = self._keep(operator.outputs[0], layer.output)
        if layer.activated is not None:
            (sigmoid,) = self._readers(output, _OP.LOGISTIC)
            (product,) = self._readers(sigmoid.outputs[0], _OP.MUL)
            self.int8[int(sigmoid.outputs[0])] = SIGMOID
            output = self._keep(product.outputs[0], layer.activated)
            if layer.gain is not None:
                self._gain(operator, sigmoid, layer)
        if layer.added is not None:
            (addition,) = self._readers(output, _OP.ADD)
            if all(int(t) in self.int8 for t in addition.inputs):
                self._keep(addition.outputs[0], layer.added)
        self._mark_input(int(operator.inputs[0]), layer)

    def _mark_input(self, tensor: int, layer: LayerPlan) -> None:
        """The input, back over what only pads it, unless the layer before made it int8."""
        assert layer.input is not None
        if tensor in self.int8:
            return
        producer = self._producer(tensor)
        if producer is not None and self._code(producer) in _KEEPS:
            self.int8[tensor] = layer.input
            self._mark_input(int(producer.inputs[0]), layer)
        else:
            self.inputs[tensor] = layer.input

    def _keep(self, tensor: int, quantisation: Range) -> int:
        """Mark ``tensor``, and what only pads or resizes it or joins it to others of that quantisation."""
        self.int8[int(tensor)] = quantisation
        for code in _KEEPS:
            for reader in self._readers(tensor, code):
                self._keep(reader.outputs[0], quantisation)
        for reader in self._readers(tensor, _OP.CONCATENATION):
            if all(self.int8.get(int(t)) == quantisation for t in reader.inputs):
                self._keep(reader.outputs[0], quantisation)
        return int(tensor)

    def _gain(self, operator: Operator, sigmoid: Operator, layer: LayerPlan) -> None:
        """LOGISTIC(x) -> LOGISTIC(gain * x) where gain * x is computed by a twin of the layer itself."""
        assert layer.gain is not None and layer.gained is not None
        twin = copy.copy(operator)
        gained = self._like(int(operator.outputs[0]), b"_gained")
        self.int8[gained] = layer.gained
        twin.outputs, sigmoid.inputs = [gained], [gained]
        self.twins[id(operator)] = twin
        self.graph.operators.insert(self.graph.operators.index(operator) + 1, twin)

    def _quantise_layer(self, operator: Operator, layer: LayerPlan) -> None:
        """Its weights and biases, in the plan's values and in the types of its mode."""
        code = self._code(operator)
        depthwise = code == _OP.DEPTHWISE_CONV_2D
        data, weight = (int(t) for t in operator.inputs[:2])  # a bias of zeros may be left out
        values = layer.weight if layer.mode == "float" else layer.quantised_weight
        values = values.transpose((2, 3, 1, 0) if depthwise else (0, 2, 3, 1))
        shape = [int(d) for d in self.graph.tensors[weight].shape]
        if values.size != np.prod(shape) or (
            len(shape) == 4 and [d for d in values.shape if d > 1] != _beyond_1(shape)
        ):
            raise ConversionError(f"layer {layer.name} has weights {list(values.shape)}, the graph {shape}.")
        scale = None if layer.mode == "float" else layer.weight_scale
        new_weight = self._constant(values.reshape(shape), scale, axis=3 if depthwise else 0)
        if layer.mode == "int8":
            quantisation = self.int8[data] if data in self.int8 else self.inputs[data]
            steps = (layer.weight_scale.astype(np.float64) * quantisation.scale).astype(np.float32)
            new_bias = self._constant(bias_steps(layer.bias, steps), steps)
            operator.opcodeIndex = operator_code(self.model, code, _INT8_VERSIONS[code])
        else:
            new_bias = self._constant(layer.bias, None)
        if layer.mode == "dynamic":
            operator.opcodeIndex = operator_code(self.model, code, _DYNAMIC_VERSIONS[code])
        operator.inputs = [data, new_weight, new_bias]
        if (twin := self.twins.get(id(operator))) is not None:
            assert layer.gain is not None
            twin.opcodeIndex = operator.opcodeIndex
            twin.inputs = [data, *(self._rescaled(t, layer.gain) for t in (new_weight, new_bias))]

    def _rescaled(self, tensor: int, gain: NDArray[np.float32]) -> int:
        """The same stored integers that mean ``gain`` times as much."""
        old = self.graph.tensors[tensor]
        new = self._like(tensor, b"_gained", old.type)
        self.graph.tensors[new].buffer = old.buffer
        q = old.quantization
        self._describe(
            new,
            [float(np.float32(a * b)) for a, b in zip(q.scale, gain, strict=True)],
            q.zeroPoint,
            q.quantizedDimension,
        )
        return new

    def _connect(self) -> None:
        """Put QUANTIZE and DEQUANTIZE where an operator finds a tensor in the other form than it computes in."""
        converted: dict[int, int] = {}
        operators, self.graph.operators = self.graph.operators, []
        for operator in operators:
            wants_int8 = int(operator.outputs[0]) in self.int8
            if wants_int8:
                code = self._code(operator)
                operator.opcodeIndex = operator_code(self.model, code, _INT8_VERSIONS[code])
            operator.inputs = [int(t) for t in operator.inputs]
            for position, tensor in enumerate(operator.inputs):
                if self._is_activation(tensor) and (tensor in self.int8) != wants_int8:
                    if tensor not in converted:
                        converted[tensor] = self._convert(tensor)
                    operator.inputs[position] = converted[tensor]
            self.graph.operators.append(operator)

    def _convert(self, tensor: int) -> int:
        if tensor in self.int8:
            new, code = self._like(tensor, b"_float32"), _OP.DEQUANTIZE
        else:
            new, code = self._like(tensor, b"_int8"), _OP.QUANTIZE
            self._set_type(new, self.inputs[tensor])
        self.graph.operators.append(self._operator(code, _INT8_VERSIONS[code], [tensor], new))
        return new


def _beyond_1(shape: list[int]) -> list[int]:
    return [d for d in shape if d > 1]
