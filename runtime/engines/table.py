"""Which engine opens which file: a row for each suffix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mvit2.errors import BundleError, UsageError

from .backend import Backend
from .litert import LiteRTBackend
from .onnx_runtime import OnnxRuntimeBackend

__all__ = ["ENGINES", "open_any", "open_model"]

_MAX_THREADS = 128  # ONNX Runtime takes minutes to start a thousand

ENGINES: Mapping[str, type[OnnxRuntimeBackend] | type[LiteRTBackend]] = {
    ".onnx": OnnxRuntimeBackend,
    ".ort": OnnxRuntimeBackend,
    ".tflite": LiteRTBackend,
}


def open_model(model: Path, threads: int | None = None) -> Backend:
    """As ``open_any``, for models with one input and one output. Raises BundleError: others."""
    backend = open_any(model, threads)
    inputs, outputs = len(backend.inputs), len(backend.outputs)
    if (inputs, outputs) != (1, 1):
        raise BundleError(f"{model} has {inputs} input(s) and {outputs} output(s), accepted is one of each.")
    return backend


def open_any(model: Path, threads: int | None = None, *, in_turns: bool = False) -> Backend:
    """Open a model file on the engine that its suffix names, whatever its inputs and outputs.

    Args:
        threads: how many threads one inference may use; None is the engine's own choice.
        in_turns: other models run in between, as where they are measured side by side.

    Raises:
        UsageError: unknown suffix, threads not in 1..128.
        MissingEngineError: the engine is not installed.
        BundleError: the engine cannot open the file.
    """
    if threads is not None and threads not in range(1, _MAX_THREADS + 1):
        raise UsageError(f"threads is {threads}, accepted: 1 to {_MAX_THREADS}.")
    if model.suffix not in ENGINES:
        raise UsageError(f"{model}: unknown kind of model file, accepted: {', '.join(ENGINES)}.")
    return ENGINES[model.suffix](model, threads, in_turns=in_turns)
