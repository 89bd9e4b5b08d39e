"""What a TFLite file still lacks when onnx2tf is done with it, as rewrites of the flatbuffer.

1. ``name_output``: TensorFlow calls the output Identity; it gets its name of the ONNX model back.
2. ``scale_input``: uint8 pixels enter through a CAST, which no delegate takes and which says nothing of what a pixel
   means. The input gets the scale 1/255 and zero-point 0, the CAST becomes a DEQUANTIZE, and the stem's weights give
   back the scale that export/convert/contract.py put into them. XNNPACK then runs every operator, and clients that read
   the input's quantisation find the normalisation in it.
3. ``narrow_argmax``: ONNX counts classes in int64, for which accelerators have no ARG_MAX; int32 counts as far.
4. ``keep_maps``: two 1x1 layers in a row compute on [N * H * W, C], one row a pixel, and a RESHAPE makes a map of it
   again. LiteRT's GPU accelerator takes the rows for a batch, and refuses to open the file once such a layer is int8
   ("Unable to parse bc coord for BATCH axis"), even where it may fall back to the CPU. They stay maps: the same numbers
   at the same places in memory, and the RESHAPE is gone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mvit2.tflite_file import operator_code

__all__ = ["keep_maps", "name_output", "narrow_argmax", "scale_input"]

_KEEPS_RANK = 5  # the version of FULLY_CONNECTED that may keep its input's rank


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


def keep_maps(model: Any) -> None:
    """In place: FULLY_CONNECTED keeps the rank of a map, and so does what is computed of its output value by value."""
    from ai_edge_litert import schema_py_generated as schema

    graph, kept = model.subgraphs[0], []
    maps: dict[int, list[int]] = {}  # tensors that were rows -> their shape as a map
    same: dict[int, int] = {}  # the outputs of RESHAPEs that changed rows into that map -> the map
    for operator in graph.operators:
        operator.inputs = [same.get(int(t), int(t)) for t in operator.inputs]
        code, data = model.operatorCodes[operator.opcodeIndex].builtinCode, operator.inputs[0]
        (output, *_), shape = operator.outputs, [int(d) for d in graph.tensors[data].shape]
        rank = len(graph.tensors[output].shape)
        if code == schema.BuiltinOperator.FULLY_CONNECTED and len(shape) == 4 and rank == 2:
            operator.opcodeIndex = operator_code(model, code, _KEEPS_RANK)
            operator.builtinOptions.keepNumDims = True
            maps[int(output)] = [*shape[:-1], int(graph.tensors[output].shape[-1])]
        elif data in maps and code == schema.BuiltinOperator.RESHAPE:
            if [int(d) for d in graph.tensors[output].shape] == maps[data]:
                same[int(output)] = data
                continue
        elif data in maps:
            maps[int(output)] = maps[data]
        if int(output) in maps:
            graph.tensors[output].shape, graph.tensors[output].shapeSignature = maps[int(output)], None
        kept.append(operator)
    graph.operators = kept
