"""Models opened on LiteRT."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mvit2.bundle.manifest import Engine, TensorFacts
from mvit2.errors import MissingEngineError
from mvit2.native_calls import native_call

from .backend import Array, Backend, cannot_open

__all__ = ["LiteRTBackend", "open_interpreter"]

_greeted = False


class LiteRTBackend(Backend):
    """``threads``: of one inference; None is LiteRT's own choice. ``in_turns`` changes nothing: its threads sleep."""

    engine: ClassVar[Engine] = "litert"
    title: ClassVar[str] = "LiteRT"

    def __init__(self, model: Path, threads: int | None = None, *, in_turns: bool = False) -> None:
        self.model = model
        self._interpreter = open_interpreter(model, num_threads=threads)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.inputs, self.outputs = tuple(map(_facts, inputs)), tuple(map(_facts, outputs))
        self._inputs, self._outputs = [one["index"] for one in inputs], [one["index"] for one in outputs]
        self._lock = threading.Lock()  # one set of tensors: threads would overwrite each other's input

    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        with self._lock:
            for index, array in zip(self._inputs, arrays, strict=True):
                self._interpreter.set_tensor(index, array)
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._outputs]  # copies


def open_interpreter(model: Path, **options: Any) -> Any:
    """LiteRT's Interpreter with its tensors allocated. Raises MissingEngineError, BundleError."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise MissingEngineError("ai-edge-litert", "litert") from None
    try:
        with _without_greeting(), native_call("opening", model):
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
    try:
        saved = os.dup(2)
    except OSError:  # a program without stderr, such as one with a window only
        yield
        return
    hidden = os.open(os.devnull, os.O_WRONLY)
    os.dup2(hidden, 2)
    try:
        yield
        _greeted = True  # not after a file that could not be opened: XNNPACK was not reached
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(hidden)


def _facts(details: Mapping[str, Any]) -> TensorFacts:
    sizes = zip(details["shape"], details["shape_signature"], strict=True)  # the latter is -1 where it is open
    shape = tuple(None if signature < 0 else int(size) for size, signature in sizes)
    name, dtype, (scale, zero_point) = str(details["name"]), np.dtype(details["dtype"]).name, details["quantization"]
    # (0.0, 0) stands for no quantisation
    return TensorFacts(name, dtype, shape, float(scale), int(zero_point)) if scale else TensorFacts(name, dtype, shape)
