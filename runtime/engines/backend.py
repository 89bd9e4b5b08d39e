"""One face for two engines: a model file goes in, ``run`` maps an input array to an output array."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from mvit2.bundle.manifest import Engine, TensorFacts
from mvit2.errors import BundleError

__all__ = ["Array", "Backend", "cannot_open"]

Array = NDArray[Any]


class Backend(Protocol):
    """A model opened on an engine: one input, one output; engine and precision are the file's business."""

    engine: Engine
    input: TensorFacts
    output: TensorFacts

    def run(self, batch: Array) -> Array:
        """``batch`` has the input's dtype and shape; a dimension of None takes any size. Threads may share a model."""
        ...


def cannot_open(model: Path, engine: str, error: Exception) -> BundleError:
    return BundleError(f"{model}: {engine} cannot open it ({' '.join(str(error).split())[:200]}).")
