"""A plan written into a float32 ONNX model: QuantizeLinear / DequantizeLinear pairs that ONNX Runtime fuses.

1. The layers of the plan are the Conv, Gemm and MatMul nodes with constant weights in graph order; their shapes must
   agree. What belongs to a layer (SiLU, residual addition) is found by walking the graph, never by a name.
2. Their weights become int8 per channel, their biases int32; the tensors of the plan become uint8, whose products with
   int8 are the ones that x86 computes fastest. They are exact where it has VNNI; elsewhere ONNX Runtime clips sums of
   two to 16 bits, unless the session option "session.x64quantprecision" is "1".
3. Transposing, reshaping, resizing and concatenation keep the quantisation of what they move. A ReLU after a
   convolution is gone: uint8 of a range that begins at 0 clips the same.
4. A uint8 image is its own quantisation: its DequantizeLinear gets the pixels' scale.

SiLU itself is float32, one rounding less than the plan asks for, because ONNX Runtime is faster with it: the lookup
table and the int8 product take twice as long. Norms are one operator each (onnx_norms.py). Every layer puts out uint8,
since NPUs leave one that puts out float32 to the CPU; only dynamic ones do not, and have one scale for all weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from mvit2.errors import ConversionError
from mvit2.quantize.plan import SIGMOID, LayerPlan, Plan, Range

from .onnx_graph import Constant, OnnxEdit, new_node, set_inputs
from .onnx_norms import join_norms

__all__ = ["quantise_onnx"]

_LAYERS = ("Conv", "Gemm")
_KEEPS = ("Transpose", "Reshape", "Resize")
_LARGEST_BIAS = 2.0**31 - 128  # the largest float32 below int32's end


class _Steps(NamedTuple):
    """How uint8 stores a tensor."""

    scale: float
    zero_point: int


def quantise_onnx(model: onnx.ModelProto, plan: Plan, scale: float) -> onnx.ModelProto:
    """A copy of ``model``, a float32 artifact (export/pipeline.py), that computes as ``plan`` says.

    Args:
        scale: of the pixels, where the model takes a uint8 image; the plan's first layer takes pixels * scale.

    Raises:
        ConversionError: the graph is not that of the plan's network.
    """
    copied = onnx.shape_inference.infer_shapes(model)
    values = [*copied.graph.input, *copied.graph.value_info, *copied.graph.output]
    sizes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
    del copied.graph.value_info[:]  # of tensors that will have other names and shapes; runtimes infer them anyway
    _Rewrite(copied.graph, plan, scale, sizes).run()
    onnx.checker.check_model(copied)
    return copied


@dataclass
class _Rewrite(OnnxEdit):
    plan: Plan
    scale: float
    sizes: dict[str, list[int]]  # 0: open
    uint8: dict[str, _Steps] = field(default_factory=dict)  # tensor -> its quantisation
    inputs: dict[str, _Steps] = field(default_factory=dict)  # float tensor -> how int8 layers want it
    twins: dict[str, NodeProto] = field(default_factory=dict)  # a layer's output -> the node that computes gain * x
    products: set[str] = field(default_factory=set)  # what dynamic layers put out, before their scales
    parameters: list[NodeProto] = field(default_factory=list)  # what dequantises weights and biases

    def run(self) -> None:
        join_norms(self, self.sizes)
        for node in [node for node in self.nodes if node.op_type == "MatMul" and node.input[1] in self.constants]:
            self._matmul_to_gemm(node)
        layers = [node for node in self.nodes if node.op_type in _LAYERS and node.input[1] in self.constants]
        if len(layers) != len(self.plan.layers):
            raise ConversionError(f"the graph holds {len(layers)} layers, the network {len(self.plan.layers)}.")
        self._mark_image()
        for node, layer in zip(layers, self.plan.layers, strict=True):
            if layer.mode == "int8":
                self._mark(node, layer)
            if layer.mode != "float":
                self._mark_input(node.input[0], layer)
        for node, layer in zip(layers, self.plan.layers, strict=True):
            self._quantise_layer(node, layer)
        self._finish([*self.parameters, *self._connected()])

    def _matmul_to_gemm(self, node: NodeProto) -> None:
        """What onnxsim leaves of a 1x1 layer whose bias is zero gets the form of the others, which have a bias."""
        (data, weight), output = node.input, node.output[0]
        inner, outer = self.constants[weight]
        rows = self._constant(f"rows_{inner}", np.array([-1, inner]))
        shape = self._constant(f"{output}_shape", np.array([-1, *self.sizes[output][1:]]))
        bias = self._constant(f"{output}_zeros", np.zeros(outer, np.float32))
        gemm = new_node("Gemm", [f"{output}_rows", weight, bias], f"{output}_gemm")
        before, after = (
            new_node("Reshape", [data, rows], f"{output}_rows"),
            new_node("Reshape", [gemm.output[0], shape], output),
        )
        self._replace(node, [before, gemm, after])

    def _mark_image(self) -> None:
        (image,) = self.graph.input
        if image.type.tensor_type.elem_type == TensorProto.UINT8:
            entry = self._reader([image.name], "DequantizeLinear")
            steps = _Steps(float(np.float32(self.scale)), 0)
            self._keep(entry.output[0], steps)
            del self.uint8[entry.output[0]]  # uint8 before, not after
            self._replace(entry, [self._dequantise(image.name, entry.output[0], steps)])
            self._scale_zero(entry.output[0])

    def _scale_zero(self, pixels: str) -> None:
        """What is subtracted from the pixels of a network with a mean is scaled as they are."""
        for node in (node for node in self.nodes if node.op_type == "Sub" and node.input[0] == pixels):
            zero = next(tensor for tensor in self.graph.initializer if tensor.name == node.input[1])
            scaled = numpy_helper.to_array(zero) * np.float64(np.float32(self.scale))
            set_inputs(node, [pixels, self._constant(f"{node.input[1]}_scaled", scaled.astype(np.float32))])

    def _mark(self, node: NodeProto, layer: LayerPlan) -> None:
        """Say which tensors after a layer are uint8."""
        self._drop_relu(node, layer)
        outputs = own = self._keep(node.output[0], _steps(layer.output))
        if layer.activated is not None:
            sigmoid = self._reader(own, "Sigmoid")
            product = self._reader([sigmoid.output[0]], "Mul")
            outputs = self._keep(product.output[0], _steps(layer.activated))
            if layer.gain is not None:
                self._gain(node, sigmoid, layer)
            elif node.op_type == "Conv":
                self._channels_last(sigmoid, product)
            else:
                self._read_once(sigmoid, product)
        if layer.added is not None:
            addition = self._reader(outputs, "Add")
            if all(tensor in self.uint8 for tensor in addition.input):
                self._keep(addition.output[0], _steps(layer.added))

    def _drop_relu(self, node: NodeProto, layer: LayerPlan) -> None:
        if _steps(layer.output).zero_point != 0:
            return
        last = node
        while len(readers := [reader for reader in self.nodes if last.output[0] in reader.input]) == 1:
            if readers[0].op_type == "Relu":
                self._replace(readers[0], [])
                last.output[0] = readers[0].output[0]
                return
            if readers[0].op_type not in _KEEPS:
                return
            last = readers[0]

    def _gain(self, node: NodeProto, sigmoid: NodeProto, layer: LayerPlan) -> None:
        """Sigmoid(x) -> Sigmoid(gain * x), all of it int8; gain * x is computed by a twin of the layer itself."""
        if sigmoid.input[0] != node.output[0]:
            raise ConversionError(f"layer {layer.name} has a gain, but {sigmoid.input[0]} lies before its SiLU.")
        twin = NodeProto()
        twin.CopyFrom(node)
        twin.name, twin.output[0] = f"{node.name}_gained", f"{node.output[0]}_gained"
        sigmoid.input[0] = twin.output[0]
        self.uint8[twin.output[0]], self.uint8[sigmoid.output[0]] = _steps(layer.gained), _steps(SIGMOID)
        self.twins[node.output[0]] = twin
        self._replace(node, [node, twin])

    def _channels_last(self, sigmoid: NodeProto, product: NodeProto) -> None:
        """SiLU over [pixels, channels], the form in which ONNX Runtime computes it as one float32 operator.

        It computes int8 convolutions channels-last, and cancels these transpositions against its own. It gives every
        reader of a DequantizeLinear one of its own, and then no longer sees SiLU: Flatten, which costs nothing, is that
        only reader (a Reshape would change places with DequantizeLinear).
        """
        x, y = sigmoid.input[0], product.output[0]
        _, channels, height, width = self.sizes[x]
        shape = self._constant(f"map_{height}_{width}_{channels}", np.array([-1, height, width, channels]))
        moved = new_node("Transpose", [x], f"{y}_nhwc", perm=(0, 2, 3, 1))
        flat = new_node("Flatten", [moved.output[0]], f"{y}_flat", axis=3)
        set_inputs(sigmoid, [flat.output[0]])
        set_inputs(product, [flat.output[0], sigmoid.output[0]])
        product.output[0] = f"{y}_product"
        shaped = new_node("Reshape", [product.output[0], shape], f"{y}_map")
        back = new_node("Transpose", [shaped.output[0]], y, perm=(0, 3, 1, 2))
        self._replace(sigmoid, [moved, flat, sigmoid])
        self._replace(product, [product, shaped, back])

    def _read_once(self, sigmoid: NodeProto, product: NodeProto) -> None:
        """SiLU over rows: with one reader of the DequantizeLinear before it, as above."""
        size, y = self.sizes.get(sigmoid.input[0], []), product.output[0]
        flat = new_node("Flatten", [sigmoid.input[0]], f"{y}_flat", axis=1)
        set_inputs(sigmoid, [flat.output[0]])
        set_inputs(product, [flat.output[0], sigmoid.output[0]])
        self._replace(sigmoid, [flat, sigmoid])
        if len(size) > 2:
            shape = self._constant(f"{y}_shape", np.array([0, *size[1:]]))  # 0: as it is
            product.output[0] = f"{y}_product"
            self._replace(product, [product, new_node("Reshape", [product.output[0], shape], y)])

    def _mark_input(self, tensor: str, layer: LayerPlan) -> None:
        """The input, back over what only moves it, unless the layer before made it uint8."""
        if tensor in self.uint8:
            return
        producer = next((node for node in self.nodes if tensor in node.output), None)
        is_read_once = sum(list(node.input).count(tensor) for node in self.nodes) == 1
        if producer is not None and producer.op_type in _KEEPS and is_read_once:
            self.uint8[tensor] = _steps(layer.input)
            self._mark_input(producer.input[0], layer)
        else:
            self.inputs[tensor] = _steps(layer.input)

    def _keep(self, tensor: str, steps: _Steps) -> list[str]:
        """Mark ``tensor`` and what only moves it; returns them."""
        self.uint8[tensor] = steps
        moved = [node.output[0] for node in self.nodes if self._only_moves(node, tensor)]
        return [tensor, *(name for output in moved for name in self._keep(output, steps))]

    def _only_moves(self, node: NodeProto, tensor: str) -> bool:
        """Or joins it to others of its quantisation."""
        if node.op_type == "Concat" and tensor in node.input:
            return all(self.uint8.get(other) == self.uint8[tensor] for other in node.input)
        return node.op_type in _KEEPS and node.input[0] == tensor

    def _quantise_layer(self, node: NodeProto, layer: LayerPlan) -> None:
        """Its weights and biases, in the plan's values and in the types of its mode."""
        data, old, output = node.input[0], node.input[1], node.output[0]
        transposed = node.op_type == "Gemm" and not _attribute(node, "transB")
        values: Constant = layer.weight if layer.mode == "float" else layer.quantised_weight
        values = values.reshape(len(values), -1) if node.op_type == "Gemm" else values
        values = values.T if transposed else values
        if list(values.shape) != self.constants[old]:
            shapes = f"weights {list(values.shape)}, the graph {self.constants[old]}"
            raise ConversionError(f"layer {layer.name} has {shapes}.")
        if layer.mode == "dynamic" and node.op_type == "Gemm":
            self._integer_product(node, layer, values if transposed else values.T)
            return
        # ONNX Runtime has no int8 convolution that puts out float32: a dynamic one stays a float one, bias and all.
        bias, scale = layer.bias, layer.weight_scale
        if layer.mode == "int8":
            source = self.uint8[data] if data in self.uint8 else self.inputs[data]
            scale = (scale.astype(np.float64) * source.scale).astype(np.float32)
            bias = np.clip(np.rint(bias / scale.astype(np.float64)), -_LARGEST_BIAS, _LARGEST_BIAS).astype(np.int32)
        for reader, gain in ((node, None), (self.twins.get(output), layer.gain)):
            if reader is not None:
                factor = np.float32(1) if gain is None else gain
                name = reader.output[0]
                weight, new_bias = self._constant(f"{name}_weight", values), self._constant(f"{name}_bias", bias)
                if layer.mode != "float":
                    weight = self._scaled(weight, layer.weight_scale * factor, axis=1 if transposed else 0)
                if layer.mode == "int8":
                    new_bias = self._scaled(new_bias, scale * factor, axis=0)
                set_inputs(reader, [data, weight, new_bias])

    def _integer_product(self, node: NodeProto, layer: LayerPlan, values: Constant) -> None:
        """int8 weights and a float32 result: NPUs take that only where one scale is that of all weights.

        So the channels' own scales, as shares of the largest, come after the product. ``values``: int8 [in, out].
        """
        data, output = node.input[0], node.output[0]
        largest = layer.weight_scale.max()
        constants = [
            self._constant(f"{output}_weight", values),
            self._constant(f"{output}_weight_scale", np.array(largest, np.float32)),
            self._constant(f"{output}_weight_zeros", np.array(0, np.int8)),
        ]
        shares = self._constant(f"{output}_shares", layer.weight_scale / largest)
        bias = self._constant(f"{output}_bias", layer.bias)
        self.parameters.append(new_node("DequantizeLinear", constants, f"{output}_weight_float"))
        product = new_node("MatMul", [data, f"{output}_weight_float"], f"{output}_product")
        scaled = new_node("Mul", [product.output[0], shares], f"{output}_scaled")
        self._replace(node, [product, scaled, new_node("Add", [scaled.output[0], bias], output)])
        self.products.add(product.output[0])

    def _scaled(self, constant: str, scale: NDArray[np.float32], axis: int) -> str:
        """Dequantised per channel.

        Without zero-points ONNX Runtime fuses no Gemm. None may be shared, nor any weights: with the session option
        "session.x64quantprecision" it then refuses the model.
        """
        inputs = [constant, self._constant(f"{constant}_scale", scale)]
        if constant.endswith("_weight"):
            inputs.append(self._constant(f"{constant}_zeros", np.zeros(len(scale), np.int8)))
        self.parameters.append(new_node("DequantizeLinear", inputs, f"{constant}_float", axis=axis))
        return f"{constant}_float"

    def _connected(self) -> list[NodeProto]:
        """All nodes, with QuantizeLinear and DequantizeLinear around what is stored as uint8."""
        nodes: list[NodeProto] = []
        rounded: set[str] = set()
        for node in self.nodes:
            tensor = node.input[0] if node.input else ""
            is_layer = node.op_type in _LAYERS or node.output[0] in self.products
            if tensor in self.inputs and (is_layer or node.output[0] in self.uint8):
                if tensor not in rounded:
                    nodes += self._pair(tensor, f"{tensor}_rounded", self.inputs[tensor])
                    rounded.add(tensor)
                node.input[0] = f"{tensor}_rounded"
            nodes.append(node)
            output = node.output[0]
            if output in self.uint8:
                node.output[0] = f"{output}_exact"
                nodes += self._pair(node.output[0], output, self.uint8[output])
        return nodes

    def _pair(self, source: str, target: str, steps: _Steps) -> list[NodeProto]:
        quantise = new_node("QuantizeLinear", [source, *self._parameters(steps)], f"{target}_uint8")
        return [quantise, self._dequantise(quantise.output[0], target, steps)]

    def _dequantise(self, source: str, target: str, steps: _Steps) -> NodeProto:
        return new_node("DequantizeLinear", [source, *self._parameters(steps)], target)

    def _parameters(self, steps: _Steps) -> list[str]:
        scale, zero_point = np.array(steps.scale, np.float32), np.array(steps.zero_point, np.uint8)
        return [
            self._constant(f"scale_{steps.scale}", scale),
            self._constant(f"zero_point_{steps.zero_point}", zero_point),
        ]


def _steps(covered: Range | None) -> _Steps:
    assert covered is not None, "the plan leaves out a range that its modes need"
    return _Steps(covered.scale, covered.zero_point + 128)


def _attribute(node: NodeProto, name: str) -> object:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)
