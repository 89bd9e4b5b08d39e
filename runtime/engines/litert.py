"""Models opened on LiteRT."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mvit2.bundle.manifest import Engine, TensorFacts
from mvit2.errors import BundleError, MissingEngineError

from .backend import Array, cannot_open

__all__ = ["LiteRTBackend", "open_interpreter"]

_greeted = False


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


def _not_ours(model: Path, inputs: int, outputs: int) -> BundleError:
    return BundleError(f"{model} has {inputs} inputs and {outputs} outputs, accepted is one of each.")


def _litert_facts(details: Mapping[str, Any]) -> TensorFacts:
    name, dtype, shape = str(details["name"]), np.dtype(details["dtype"]).name, tuple(map(int, details["shape"]))
    scale, zero_point = details["quantization"]  # (0.0, 0) stands for none
    return TensorFacts(name, dtype, shape, float(scale), int(zero_point)) if scale else TensorFacts(name, dtype, shape)
