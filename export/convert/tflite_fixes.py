"""What a TFLite file still lacks when onnx2tf is done with it, as rewrites of the flatbuffer.

1. ``name_output``: TensorFlow calls the output Identity; it gets its name of the ONNX model back.
2. ``scale_input``: uint8 pixels enter through a CAST, which no delegate takes and which says nothing of what a pixel
   means. The input gets the scale 1/255 and zero-point 0, the CAST becomes a DEQUANTIZE, and the stem's weights give
   back the scale that export/convert/fold.py put into them. XNNPACK then runs every operator, and clients that read
   the input's quantisation find the normalisation in it.
3. ``narrow_argmax``: ONNX counts classes in int64, for which accelerators have no ARG_MAX; int32 counts as far.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mvit2.tflite_file import operator_code

__all__ = ["name_output", "narrow_argmax", "scale_input"]


def name_output(model: Any, name: str) -> None:
    graph = model.subgraphs[0]
    graph.tensors[graph.outputs[0]].name = name.encode()


def narrow_argmax(model: Any) -> None:
    """In place; models without one stay."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.ARG_MAX:
            operator.builtinOptions.outputType = schema.TensorType.INT32
            graph.tensors[operator.outputs[0]].type = schema.TensorType.INT32


def scale_input(model: Any, scale: float) -> None:
    """Rewrite ``CAST -> (SUB ->) (PAD ->) CONV_2D`` behind a uint8 input in place; models with another input stay.

    What SUB takes from the pixels is scaled as they are.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    pixels = graph.tensors[graph.inputs[0]]
    if pixels.type != schema.TensorType.UINT8:
        return
    entry = _reader(graph, graph.inputs[0])
    pixels.quantization = schema.QuantizationParametersT()
    pixels.quantization.scale, pixels.quantization.zeroPoint = [scale], [0]
    entry.opcodeIndex = operator_code(model, schema.BuiltinOperator.DEQUANTIZE, version=1)
    entry.builtinOptions, entry.builtinOptionsType = None, schema.BuiltinOptions.NONE
    stem = _reader(graph, entry.outputs[0])
    if model.operatorCodes[stem.opcodeIndex].builtinCode == schema.BuiltinOperator.SUB:
        zero = model.buffers[graph.tensors[stem.inputs[1]].buffer]
        scaled = np.frombuffer(zero.data.tobytes(), np.float32).astype(np.float64) * scale
        zero.data = np.frombuffer(scaled.astype(np.float32).tobytes(), np.uint8)
    while model.operatorCodes[stem.opcodeIndex].builtinCode != schema.BuiltinOperator.CONV_2D:
        stem = _reader(graph, stem.outputs[0])
    weights = model.buffers[graph.tensors[stem.inputs[1]].buffer]
    unscaled = np.frombuffer(weights.data.tobytes(), np.float32).astype(np.float64) / scale
    weights.data = np.frombuffer(unscaled.astype(np.float32).tobytes(), np.uint8)


def _reader(graph: Any, tensor: int) -> Any:
    """The operator that reads ``tensor``."""
    return next(operator for operator in graph.operators if tensor in list(operator.inputs))
