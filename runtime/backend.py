"""One face for two engines: a model file goes in, ``run`` maps an input array to an output array."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mvit2.errors import BundleError, MissingEngineError, UsageError
from mvit2.manifest import Engine, TensorFacts

__all__ = [
    "ENGINES",
    "Backend",
    "LiteRTBackend",
    "OnnxRuntimeBackend",
    "cannot_open",
    "clips_sums",
    "no_telemetry",
    "open_interpreter",
    "open_model",
    "sums_in_16_bits",
]

Array = NDArray[Any]
_MAX_THREADS = 128  # ONNX Runtime takes minutes to start a thousand
_greeted = False


class Backend(Protocol):
    """A model opened on an engine: one input, one output; engine and precision are the file's business."""

    engine: Engine
    input: TensorFacts
    output: TensorFacts

    def run(self, batch: Array) -> Array:
        """``batch`` has the input's dtype and shape; a dimension of None takes any size. Threads may share a model."""
        ...


def sums_in_16_bits() -> bool:
    """Whether ONNX Runtime's int8 kernels would clip sums of two products: on x86-64 without VNNI.

    onnxruntime_session_options_config_keys.h tells of the option that prevents it; elsewhere it only costs time.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # no Linux: do not risk it
        return True


def clips_sums(file: Path) -> bool:
    """Whether this file's int8 arithmetic is wrong here though right on phones: the option works on ONNX only."""
    return file.suffix == ".ort" and sums_in_16_bits()


class OnnxRuntimeBackend:
    engine: Engine = "onnxruntime"

    def __init__(self, model: Path, threads: int | None = None) -> None:
        no_telemetry()
        try:
            import onnxruntime as ort
        except ImportError:
            raise MissingEngineError("onnxruntime", "ort") from None
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0  # 0: one thread per core
        if sums_in_16_bits():
            options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            self._session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises classes of its C++ bindings, without a common base
            raise cannot_open(model, "ONNX Runtime", error) from None
        self.input, self.output = (
            _onnx_facts(model, nodes) for nodes in (self._session.get_inputs(), self._session.get_outputs())
        )

    def run(self, batch: Array) -> Array:
        return np.asarray(self._session.run([self.output.name], {self.input.name: batch})[0])

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's metadata_props."""
        return dict(self._session.get_modelmeta().custom_metadata_map)


class LiteRTBackend:
    engine: Engine = "litert"

    def __init__(self, model: Path, threads: int | None = None) -> None:
        self._interpreter = open_interpreter(model, num_threads=threads)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if (len(inputs), len(outputs)) != (1, 1):
            raise _not_ours(model, len(inputs), len(outputs))
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self.input, self.output = _litert_facts(inputs[0]), _litert_facts(outputs[0])
        self._lock = threading.Lock()  # one set of tensors: threads would overwrite each other's input

    def run(self, batch: Array) -> Array:
        with self._lock:
            self._interpreter.set_tensor(self._input, batch)
            self._interpreter.invoke()
            return np.array(self._interpreter.get_tensor(self._output))


ENGINES: Mapping[str, type[OnnxRuntimeBackend] | type[LiteRTBackend]] = {
    ".onnx": OnnxRuntimeBackend,
    ".ort": OnnxRuntimeBackend,
    ".tflite": LiteRTBackend,
}


def no_telemetry() -> None:
    """Keep ONNX Runtime from reporting to its maker, which 1.31 does on Linux too; before its first import.

    A user's own setting of the variable wins.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def open_interpreter(model: Path, **options: Any) -> Any:
    """LiteRT's Interpreter with its tensors allocated. Raises MissingEngineError, BundleError."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise MissingEngineError("ai-edge-litert", "litert") from None
    try:
        with _without_greeting():
            interpreter = Interpreter(str(model), **options)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise cannot_open(model, "LiteRT", error) from None
    return interpreter


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Hide what LiteRT's C++ side prints on stderr once per process, when XNNPACK is first used."""
    global _greeted
    if _greeted:
        yield
        return
    _greeted = True
    try:
        saved = os.dup(2)
    except OSError:  # a program without stderr, such as one with a window only
        yield
        return
    hidden = os.open(os.devnull, os.O_WRONLY)
    os.dup2(hidden, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(hidden)


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


def cannot_open(model: Path, engine: str, error: Exception) -> BundleError:
    return BundleError(f"{model}: {engine} cannot open it ({' '.join(str(error).split())[:200]}).")


def _not_ours(model: Path, inputs: int, outputs: int) -> BundleError:
    return BundleError(f"{model} has {inputs} inputs and {outputs} outputs, accepted is one of each.")


def _onnx_facts(model: Path, nodes: list[Any]) -> TensorFacts:
    if len(nodes) != 1:
        raise BundleError(f"{model} has {len(nodes)} inputs or outputs, accepted is one of each.")
    node = nodes[0]
    dtype = {"tensor(float)": "float32"}.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
    return TensorFacts(node.name, dtype, tuple(d if isinstance(d, int) else None for d in node.shape))


def _litert_facts(details: Mapping[str, Any]) -> TensorFacts:
    name, dtype, shape = str(details["name"]), np.dtype(details["dtype"]).name, tuple(map(int, details["shape"]))
    scale, zero_point = details["quantization"]  # (0.0, 0) stands for none
    return TensorFacts(name, dtype, shape, float(scale), int(zero_point)) if scale else TensorFacts(name, dtype, shape)
