"""How a uint8 image enters an ONNX model: through DequantizeLinear (scale 1, zero-point 0), not through Cast.

Both give the same float32 bits. But Qualcomm's provider compiles a Cast of a uint8 graph input as a cast to bool: every
pixel becomes 0 or 1, and the network answers the same class for every image, without a word.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

__all__ = ["with_dequantised_input"]

_SCALE, _ZERO_POINT = "image_scale", "image_zero_point"


def with_dequantised_input(model: ModelProto) -> ModelProto:
    """A copy of ``model`` whose uint8 input enters so; models with another input are copied as they are."""
    copied = ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    images = {i.name for i in graph.input if i.type.tensor_type.elem_type == TensorProto.UINT8}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in images:
            name, inputs = node.name, [node.input[0], _SCALE, _ZERO_POINT]
            node.CopyFrom(helper.make_node("DequantizeLinear", inputs, list(node.output), name=name))
            graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), _SCALE))
            graph.initializer.append(numpy_helper.from_array(np.array(0, np.uint8), _ZERO_POINT))
    return copied
