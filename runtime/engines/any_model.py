"""Any ONNX or TFLite model, whatever its inputs and outputs, for measuring beside ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import Engine, TensorFacts
from mvit2.errors import BundleError, MissingEngineError, UsageError
from mvit2.telemetry import no_telemetry

from .backend import cannot_open
from .litert import open_interpreter
from .onnx_runtime import sums_in_16_bits
from .table import ENGINES

__all__ = ["AnyModel", "open_any", "random_inputs"]

Array = NDArray[Any]


@dataclass(frozen=True)
class AnyModel:
    """``run`` takes an array for each of ``inputs`` and returns all outputs; one thread at a time."""

    engine: Engine
    inputs: tuple[TensorFacts, ...]  # a dimension of None is open
    run: Callable[[Sequence[Array]], list[Array]]
    end_profile: Callable[[], str] | None = None  # returns the file of the profile that was asked for

    @property
    def open_inputs(self) -> tuple[str, ...]:
        """Names of the inputs with an open dimension."""
        return tuple(facts.name for facts in self.inputs if None in facts.shape)


def open_any(model: Path, threads: int, profile_into: Path | None = None) -> AnyModel:
    """Open a .onnx, .ort or .tflite file.

    Args:
        threads: of one inference.
        profile_into: a folder for ONNX Runtime's profile; LiteRT has none.

    Raises:
        UsageError: another suffix.
        MissingEngineError, BundleError: no engine, or one that cannot open the file.
    """
    if model.suffix not in ENGINES:
        raise UsageError(f"{model}: unknown kind of model file, accepted: {', '.join(ENGINES)}.")
    if ENGINES[model.suffix].engine == "litert":
        return _open_tflite(model, threads)
    return _open_onnx(model, threads, profile_into)


def random_inputs(model: AnyModel, seed: int = 0) -> list[Array]:
    """An array for each input, open dimensions as 1: floats in [0, 1), bytes of any value; wider integers are 0 or 1,
    since they may be indices. Raises BundleError for an input that holds no numbers.
    """
    random = np.random.default_rng(seed)
    return [_random(facts, random) for facts in model.inputs]


def _random(facts: TensorFacts, random: np.random.Generator) -> Array:
    shape = [1 if size is None else size for size in facts.shape]
    try:
        dtype = np.dtype(facts.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind == "f":
        return random.random(shape).astype(dtype)
    if dtype.kind not in "iub":
        raise BundleError(f"input {facts.name!r} is {facts.dtype}, accepted: floats, integers, booleans.")
    if dtype.itemsize == 1 and dtype.kind != "b":
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return random.integers(0, 2, shape).astype(dtype)


def _open_onnx(model: Path, threads: int, profile_into: Path | None) -> AnyModel:
    no_telemetry()
    try:
        import onnxruntime as ort
    except ImportError:
        raise MissingEngineError("onnxruntime", "ort") from None
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what fails is raised as well, and said by us
    options.intra_op_num_threads = threads
    # Its threads would go on spinning for work while the next model has its turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if sums_in_16_bits():
        options.add_session_config_entry("session.x64quantprecision", "1")
    if profile_into is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile_into / "profile")
    try:
        session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its C++ bindings, without a common base
        raise cannot_open(model, "ONNX Runtime", error) from None
    inputs = tuple(_onnx_facts(node) for node in session.get_inputs())
    names = [facts.name for facts in inputs]

    def run(arrays: Sequence[Array]) -> list[Array]:
        return list(session.run(None, dict(zip(names, arrays, strict=True))))

    return AnyModel("onnxruntime", inputs, run, session.end_profiling if profile_into else None)


def _onnx_facts(node: Any) -> TensorFacts:
    name = node.type.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(name, name)
    return TensorFacts(node.name, dtype, tuple(size if isinstance(size, int) else None for size in node.shape))


def _open_tflite(model: Path, threads: int) -> AnyModel:
    interpreter = open_interpreter(model, num_threads=threads)
    details = interpreter.get_input_details()
    indices = [one["index"] for one in details]
    outputs = [one["index"] for one in interpreter.get_output_details()]

    def run(arrays: Sequence[Array]) -> list[Array]:
        for index, array in zip(indices, arrays, strict=True):
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return AnyModel("litert", tuple(_litert_facts(one) for one in details), run)


def _litert_facts(details: Any) -> TensorFacts:
    shape = zip(details["shape"], details["shape_signature"], strict=True)  # the latter is -1 where it is open
    sizes = tuple(None if signature < 0 else int(size) for size, signature in shape)
    return TensorFacts(str(details["name"]), np.dtype(details["dtype"]).name, sizes)
