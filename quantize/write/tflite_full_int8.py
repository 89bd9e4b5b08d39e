"""Every tensor int8: for accelerators (NPU, DSP) that accept nothing else. Much worse than quantize/write/tflite.py.

1. Every float32 activation becomes int8 with a range of its own, measured by running the float32 file
   (quantize/write/tflite_ranges.py); weights become int8 per output channel, biases int32, other constants int8.
2. What only moves values (padding, slices, reshapes, ...) keeps the quantisation of its input; what joins maps has one
   for all of them. A sigmoid and a softmax have the one that the kernels demand.
3. Scales are floored by those they are computed from: a dead tensor's scale of 1e-12 makes XNNPACK fail or crash.
4. A softmax's division e / s becomes e * rsqrt(s) * rsqrt(s): LiteRT's int8 DIV makes 127 of a zero numerator, aborts
   the process for a zero divisor, and is missing from older runtimes.
5. The uint8 pixels are requantised to int8, exactly. At the end the logits are dequantised, and the last softmax stays
   float: int8 probabilities are multiples of 1/256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from mvit2.errors import ConversionError
from mvit2.quantize.plan import SIGMOID, Range, weight_scales
from mvit2.tflite_file import operator_code, prune
from mvit2.tflite_types import Model, Operator

from .tflite_graph import GraphEdit, bias_steps

__all__ = ["quantise_fully"]

_OP = schema.BuiltinOperator
_FLOAT = schema.TensorType.FLOAT32
_LAYERS = (_OP.CONV_2D, _OP.DEPTHWISE_CONV_2D, _OP.FULLY_CONNECTED)
_KEEPS = (_OP.PAD, _OP.RESHAPE, _OP.STRIDED_SLICE, _OP.REDUCE_MAX, _OP.TRANSPOSE, _OP.RESIZE_BILINEAR)
_FIXED = (_OP.LOGISTIC, _OP.SOFTMAX)  # their outputs are multiples of 1/256
_PRODUCTS = (_OP.MUL, _OP.BATCH_MATMUL)
_SUMS = (_OP.ADD, _OP.SUB, _OP.MEAN, _OP.SUM, _OP.RELU)
# The first versions that take int8: tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc.
_SECOND = (_OP.LOGISTIC, _OP.MUL, _OP.ADD, _OP.SUB, _OP.MEAN, _OP.SUM, _OP.RELU, _OP.RSQRT, _OP.EXP, _OP.REDUCE_MAX)
_VERSIONS = {
    **dict.fromkeys((_OP.DIV, _OP.RESHAPE, _OP.QUANTIZE), 1),
    **dict.fromkeys((*_SECOND, _OP.PAD, _OP.STRIDED_SLICE, _OP.TRANSPOSE, _OP.DEQUANTIZE), 2),
    **dict.fromkeys((_OP.BATCH_MATMUL, _OP.SOFTMAX, _OP.CONCATENATION), 2),
    **dict.fromkeys((_OP.CONV_2D, _OP.DEPTHWISE_CONV_2D, _OP.RESIZE_BILINEAR), 3),
    _OP.FULLY_CONNECTED: 5,  # that keeps its input's rank
}
_RESCALING_MUL = 3  # a MUL whose product has larger steps than its output
_MOST_RATIO = 2.0**7  # of an operator's own step to that of its output: XNNPACK accepts less than 2**8
_MOST_BIAS = 2.0**30
_STEPS = 255


def quantise_fully(model: Model, ranges: Mapping[int, Range]) -> None:
    """Rewrite a flatbuffer object (ai_edge_litert.schema_py_generated.ModelT) in place.

    Args:
        model: a float32 model of ours: uint8 ``image`` -> float32 ``scores``.
        ranges: of its activations, by tensor (``tensor_ranges`` of the same file).

    Raises ConversionError when the graph is not that of our networks.
    """
    _Full(model, dict(ranges)).run()


@dataclass
class _Full(GraphEdit):
    ranges: dict[int, Range]
    int8: dict[int, Range] = field(default_factory=dict)  # tensor -> its quantisation

    def run(self) -> None:
        first, *body, last = self.graph.operators
        if (self._code(first), self._code(last)) != (_OP.DEQUANTIZE, _OP.SOFTMAX):
            raise ConversionError("full int8 needs a network from uint8 pixels to a softmax; export with --io image.")
        for operator in body:
            self._check(operator)
        body = [new for operator in body for new in self._without_division(operator)]
        self.graph.operators = [first, *body, last]
        self._quantise_input(first)
        for operator in body:
            self._choose(operator)
        self._propagate_scales(body)
        for operator in body:
            self._rewrite(operator)
        for tensor, quantisation in self.int8.items():
            self._set_type(tensor, quantisation)
        self.graph.operators = [first, *body, self._dequantised(last), last]
        prune(self.model)

    def _check(self, operator: Operator) -> None:
        code = self._code(operator)
        if code not in _VERSIONS:
            raise ConversionError(f"full int8 knows no operator {code}; accepted: those of our networks.")
        if code == _OP.DIV and not self._is_softmax_sum(int(operator.inputs[1])):
            raise ConversionError("full int8 found a division by what may be zero; accepted: by a softmax's sum.")
        joined = [self._producer(int(t)) for t in operator.inputs] if code == _OP.CONCATENATION else []
        if any(one is None or self._code(one) in (*_KEEPS, *_FIXED) for one in joined):
            raise ConversionError("full int8 cannot join maps that are only moved; accepted: those of our networks.")

    def _is_softmax_sum(self, tensor: int) -> bool:
        """SUM(EXP(x - REDUCE_MAX(x))): at least 1, for one of its terms is exp(0)."""
        inputs = [tensor]
        for code in (_OP.SUM, _OP.EXP, _OP.SUB):
            operator = self._producer(inputs[0])
            if operator is None or self._code(operator) != code:
                return False
            inputs = [int(t) for t in operator.inputs]
        largest = self._producer(inputs[1])
        return largest is not None and self._code(largest) == _OP.REDUCE_MAX and int(largest.inputs[0]) == inputs[0]

    def _without_division(self, operator: Operator) -> list[Operator]:
        """Where e is 1, e / s is 1 / s: the largest rsqrt(s) is the root of the largest quotient."""
        if self._code(operator) != _OP.DIV:
            return [operator]
        numerator, divisor = (int(t) for t in operator.inputs)
        quotient = int(operator.outputs[0])
        root, product = self._like(divisor, b"_rsqrt"), self._like(numerator, b"_rsqrt")
        self.ranges[root] = self.ranges[product] = Range(0.0, self._measured(quotient).hi ** 0.5)
        inverse = self._operator(_OP.RSQRT, 2, [divisor], root)
        return [inverse, self._product(numerator, root, product), self._product(product, root, quotient)]

    def _product(self, a: int, b: int, output: int) -> Operator:
        operator = self._operator(_OP.MUL, 2, [a, b], output)
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
        return operator

    def _quantise_input(self, first: Operator) -> None:
        """DEQUANTIZE to float32 -> QUANTIZE to int8: the same pixels, 128 less."""
        (scale,) = self.graph.tensors[int(first.inputs[0])].quantization.scale
        self.int8[int(first.outputs[0])] = Range(0.0, float(scale) * _STEPS)
        first.opcodeIndex = operator_code(self.model, _OP.QUANTIZE, _VERSIONS[_OP.QUANTIZE])

    def _choose(self, operator: Operator) -> None:
        """The measured range of an operator's output, and those of its constants."""
        code, output = self._code(operator), int(operator.outputs[0])
        if code in _KEEPS:
            self.int8[output] = self.int8[int(operator.inputs[0])]
            return
        self.int8[output] = SIGMOID if code in _FIXED else self._measured(output)
        if code not in _LAYERS:
            self._choose_constants(operator)

    def _measured(self, tensor: int) -> Range:
        if tensor not in self.ranges:
            name = self.graph.tensors[tensor].name.decode(errors="replace")
            raise ConversionError(f"no range was measured for tensor {tensor} ({name}); measure this very file.")
        return self.ranges[tensor]

    def _choose_constants(self, operator: Operator) -> None:
        operator.inputs = [int(t) for t in operator.inputs]
        for position, tensor in enumerate(operator.inputs):
            if self._is_float_constant(tensor):
                values = self._values(tensor)
                operator.inputs[position] = own = self._constant(values, None)  # for each operator, in its scale
                self.int8[own] = Range(float(values.min()), float(values.max()))

    def _is_float_constant(self, tensor: int) -> bool:
        return not self._is_activation(tensor) and bool(self.graph.tensors[tensor].type == _FLOAT)

    def _round_constants(self, operator: Operator) -> None:
        for position, tensor in enumerate(operator.inputs):
            if self._is_float_constant(tensor):
                chosen = self.int8[tensor]
                steps = np.rint(self._values(tensor) / chosen.scale) + chosen.zero_point
                operator.inputs[position] = new = self._constant(np.clip(steps, -128, 127).astype(np.int8), None)
                self.int8[new] = chosen

    def _own_step(self, operator: Operator) -> float:
        """The step in which an operator computes, before it rounds to its output's."""
        code, inputs = self._code(operator), [int(t) for t in operator.inputs]
        scales = [self.int8[t].scale for t in inputs if t in self.int8]
        if code in _LAYERS:
            return scales[0] * float(self._weights(operator)[1].max())
        if code in _PRODUCTS:
            return scales[0] * scales[1]
        return max(scales) if code in _SUMS else 0.0

    def _weights(self, operator: Operator) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
        """float32 weights as stored, their scales, the axis of the output channels."""
        axis = 3 if self._code(operator) == _OP.DEPTHWISE_CONV_2D else 0
        weights = self._values(int(operator.inputs[1]))
        return weights, weight_scales(np.moveaxis(weights, axis, 0)), axis

    def _bias(self, operator: Operator) -> NDArray[np.float32]:
        inputs = [int(t) for t in operator.inputs]
        given = len(inputs) > 2 and inputs[2] >= 0
        return self._values(inputs[2]) if given else np.zeros(len(self._weights(operator)[1]), np.float32)

    def _propagate_scales(self, body: list[Operator]) -> None:
        """Widen what is too fine beside its neighbours until nothing changes."""
        before: dict[int, Range] = {}
        while before != self.int8:
            before = dict(self.int8)
            for operator in reversed(body):
                self._widen_inputs(operator)
            for operator in body:
                self._widen_output(operator)

    def _widen_output(self, operator: Operator) -> None:
        code, output = self._code(operator), int(operator.outputs[0])
        if code in _KEEPS:
            self.int8[output] = self.int8[int(operator.inputs[0])]
        elif code == _OP.CONCATENATION:
            self._share(operator)
        elif code not in _FIXED:
            self.int8[output] = _at_least(self.int8[output], self._own_step(operator) / _MOST_RATIO)

    def _share(self, operator: Operator) -> None:
        """One quantisation for what is joined: the widest."""
        tensors = [int(t) for t in (*operator.inputs, *operator.outputs)]
        widest = Range(min(self.int8[t].lo for t in tensors), max(self.int8[t].hi for t in tensors))
        self.int8 |= dict.fromkeys(tensors, widest)

    def _widen_inputs(self, operator: Operator) -> None:
        """No finer than a reader can use: biases must fit int32; an epsilon needs no step of its size."""
        code, output = self._code(operator), self.int8[int(operator.outputs[0])]
        if code in _LAYERS:
            needed = float((np.abs(self._bias(operator)) / self._weights(operator)[1]).max()) / _MOST_BIAS
        elif code in (*_KEEPS, _OP.ADD, _OP.SUB):
            needed = output.scale if code in _KEEPS else output.scale / _MOST_RATIO
        else:
            return
        for tensor in map(int, operator.inputs):
            if tensor in self.int8 and self._may_widen(tensor):
                self.int8[tensor] = _at_least(self.int8[tensor], needed)

    def _may_widen(self, tensor: int) -> bool:
        producer = self._producer(tensor)
        return producer is None or self._code(producer) not in (*_FIXED, _OP.QUANTIZE)

    def _rewrite(self, operator: Operator) -> None:
        code = self._code(operator)
        version = _VERSIONS[code]
        if code in _LAYERS:
            self._quantise_layer(operator)
        else:
            self._round_constants(operator)
        if code == _OP.MUL and self._own_step(operator) >= self.int8[int(operator.outputs[0])].scale:
            version = _RESCALING_MUL
        operator.opcodeIndex = operator_code(self.model, code, version)

    def _quantise_layer(self, operator: Operator) -> None:
        weights, scales, axis = self._weights(operator)
        along = scales.reshape([-1 if d == axis else 1 for d in range(weights.ndim)]).astype(np.float64)
        integers = np.clip(np.rint(weights / along), -127, 127).astype(np.int8)
        data = int(operator.inputs[0])
        steps = (scales.astype(np.float64) * self.int8[data].scale).astype(np.float32)
        bias = self._constant(bias_steps(self._bias(operator), steps), steps)
        operator.inputs = [data, self._constant(integers, scales, axis), bias]

    def _dequantised(self, last: Operator) -> Operator:
        """DEQUANTIZE of the logits, for the float softmax."""
        logits = int(last.inputs[0])
        last.inputs = [self._like(logits, b"_float32")]
        return self._operator(_OP.DEQUANTIZE, 2, [logits], last.inputs[0])


def _at_least(quantisation: Range, step: float) -> Range:
    return quantisation if quantisation.scale >= step else Range(quantisation.lo, quantisation.lo + _STEPS * step)
