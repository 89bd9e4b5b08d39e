"""TFLite files as objects: read, write, and the few edits that every rewrite needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .tflite_types import Connected, Model, OperatorCode

_ALIGNMENT = 16

__all__ = ["operator_code", "prune", "read_tflite", "write_tflite"]


def read_tflite(file: Path) -> Model:
    """A ModelT, the object form of ai_edge_litert.schema_py_generated."""
    from ai_edge_litert import schema_py_generated as schema

    model: Model = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    return model


def write_tflite(model: Model, file: Path) -> None:
    builder = _builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    file.write_bytes(builder.Output())


def _builder() -> Any:
    """A Builder that aligns constants as the schema says (force_align: 16), which its Python form forgets.

    Runtimes map the file into memory and compute on the constants where they lie.
    """
    import flatbuffers

    class Builder(flatbuffers.Builder):  # type: ignore[misc]  # the library has no types
        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
            is_data = elemSize == 1 and numElems >= _ALIGNMENT
            return super().StartVector(elemSize, numElems, _ALIGNMENT if is_data else alignment)

    return Builder()


def operator_code(model: Model, builtin: int, version: int) -> int:
    """The index by which operators refer to ``builtin`` of ``version``; declared where the model lacks it."""
    from ai_edge_litert import schema_py_generated as schema

    for index, known in enumerate(model.operatorCodes):
        if (known.builtinCode, known.version) == (builtin, version):
            return index
    code: OperatorCode = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def prune(model: Model) -> None:
    """Drop the tensors, buffers and operator codes that nothing refers to any more. Buffer 0 stays: it is "no data"."""
    graph = model.subgraphs[0]
    used = {int(t) for op in graph.operators for t in (*op.inputs, *op.outputs) if t >= 0}
    used |= {int(t) for t in (*graph.inputs, *graph.outputs)}
    tensors = {old: new for new, old in enumerate(sorted(used))} | {-1: -1}
    graph.tensors = [graph.tensors[old] for old in sorted(used)]
    connected: list[Connected] = [*graph.operators, graph]
    for one in connected:
        one.inputs = [tensors[int(t)] for t in one.inputs]
        one.outputs = [tensors[int(t)] for t in one.outputs]
    for definition in model.signatureDefs or ():
        for entry in (*definition.inputs, *definition.outputs):
            entry.tensorIndex = tensors[entry.tensorIndex]
    kept = sorted({0, *(t.buffer for t in graph.tensors), *(m.buffer for m in model.metadata or ())})
    model.buffers = [model.buffers[old] for old in kept]
    for holder in (*graph.tensors, *(model.metadata or ())):
        holder.buffer = kept.index(holder.buffer)
    codes = sorted({op.opcodeIndex for op in graph.operators})
    model.operatorCodes = [model.operatorCodes[old] for old in codes]
    for operator in graph.operators:
        operator.opcodeIndex = codes.index(operator.opcodeIndex)
