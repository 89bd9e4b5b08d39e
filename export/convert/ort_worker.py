"""ONNX Runtime's converter to .ort for a folder of models: ``python -m mvit2.export.convert.ort_worker MODELS OUTPUT``.

It runs in a process of its own, which keeps what it prints and logs out of ours. Its files are the same at every run
only after two repairs:

1. The table of kernel types comes from a hash map that is ordered by memory addresses; it is written anew, sorted.
2. The list of required operators names the models by their whole path; only the names stay.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mvit2.worker_process import start_worker

_ALIGNMENT = 16  # at least that of anything in the file


def _main(models: str, output: str) -> None:
    from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

    convert_onnx_models_to_ort(
        Path(models),
        Path(output),
        [OptimizationStyle.Fixed],
        target_platform="arm",  # leaves out the layout NCHWc, which only x86-64 has
        save_optimized_onnx_model=True,  # what the .ort computes, for those who read ONNX
        enable_type_reduction=True,
    )
    for model in Path(output).glob("*.ort"):
        model.write_bytes(_with_sorted_kernel_types(model.read_bytes()))
    for config in Path(output).glob("*.config"):
        lines = config.read_text(encoding="utf-8").splitlines()
        named = [f"# - {Path(line[4:]).name}" if line.startswith("# - ") else line for line in lines]
        config.write_text("".join(f"{line}\n" for line in named), encoding="utf-8")


def _with_sorted_kernel_types(data: bytes) -> bytes:
    """``data``, a session of ONNX Runtime's flatbuffer schema, with its last part written anew.

    Flatbuffers are written from the end to the beginning: the model, then the table of kernel types, then the session
    that refers to both. All from the model's beginning on is handed to a Builder as if it had written it itself.
    """
    import flatbuffers
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py import fbs

    old = fbs.InferenceSession.InferenceSession.GetRootAs(data)
    at = old.Model()._tab.Pos
    fields = at - flatbuffers.encode.Get(flatbuffers.packer.soffset, data, at)  # what the model has, right before it
    kept = data[min(at, fields) :]
    new = flatbuffers.Builder(2 * len(data))
    new.head, new.minalign = len(new.Bytes) - len(kept), _ALIGNMENT
    new.Bytes[new.head :] = kept
    session = {
        "OrtVersion": new.CreateString(old.OrtVersion()),
        "Model": len(data) - at,  # offsets count from the end
        "KernelTypeStrResolver": _kernel_types(new, old.KernelTypeStrResolver(), fbs),
    }
    new.Finish(_table(new, fbs.InferenceSession, session), b"ORTM")
    return bytes(new.Output())


def _kernel_types(new: Any, old: Any, fbs: Any) -> int:
    """Operator -> type parameter of its kernels -> the inputs and outputs that have this type."""
    operators = []
    for operator in sorted(_items(old, "OpKernelTypeStrArgs"), key=lambda entry: bytes(entry.OpId())):
        kinds = []
        for kind in sorted(_items(operator, "KernelTypeStrArgs"), key=lambda entry: bytes(entry.KernelTypeStr())):
            args = [
                _table(new, fbs.ArgTypeAndIndex, {"ArgType": arg.ArgType(), "Index": arg.Index()})
                for arg in _items(kind, "Args")
            ]
            entry = {"KernelTypeStr": new.CreateString(kind.KernelTypeStr()), "Args": _vector(new, args)}
            kinds.append(_table(new, fbs.KernelTypeStrArgsEntry, entry))
        entry = {"OpId": new.CreateString(operator.OpId()), "KernelTypeStrArgs": _vector(new, kinds)}
        operators.append(_table(new, fbs.OpIdKernelTypeStrArgsEntry, entry))
    return _table(new, fbs.KernelTypeStrResolver, {"OpKernelTypeStrArgs": _vector(new, operators)})


def _items(table: Any, field: str) -> list[Any]:
    return [getattr(table, field)(i) for i in range(getattr(table, f"{field}Length")())]


def _table(new: Any, kind: Any, fields: Mapping[str, int]) -> int:
    """A table of the generated module ``kind``; returns its offset."""
    kind.Start(new)
    for name, value in fields.items():
        getattr(kind, f"Add{name}")(new, value)
    return int(kind.End(new))


def _vector(new: Any, offsets: Sequence[int]) -> int:
    new.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        new.PrependUOffsetTRelative(offset)
    return int(new.EndVector())


if __name__ == "__main__":
    start_worker()
    _main(*sys.argv[1:])
