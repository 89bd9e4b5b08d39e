"""Which engine opens which file: a row for each suffix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mvit2.errors import UsageError

from .backend import Backend
from .litert import LiteRTBackend
from .onnx_runtime import OnnxRuntimeBackend

__all__ = ["ENGINES", "open_model"]

_MAX_THREADS = 128  # ONNX Runtime takes minutes to start a thousand

ENGINES: Mapping[str, type[OnnxRuntimeBackend] | type[LiteRTBackend]] = {
    ".onnx": OnnxRuntimeBackend,
    ".ort": OnnxRuntimeBackend,
    ".tflite": LiteRTBackend,
}


def open_model(model: Path, threads: int | None = None) -> Backend:
    """Open a model file on the engine that its suffix names.

    Args:
        threads: how many threads one inference may use; None is the engine's own choice.

    Raises:
        UsageError: unknown suffix, threads not in 1..128.
        MissingEngineError: the engine is not installed.
        BundleError: the engine cannot open the file.
    """
    if threads is not None and threads not in range(1, _MAX_THREADS + 1):
        raise UsageError(f"threads is {threads}, accepted: 1 to {_MAX_THREADS}.")
    if model.suffix not in ENGINES:
        raise UsageError(f"{model}: unknown kind of model file, accepted: {', '.join(ENGINES)}.")
    return ENGINES[model.suffix](model, threads)
