"""One face for all engines: a model file goes in; ``run`` maps an array to an array, ``run_all`` several to several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from numpy.typing import NDArray

from mvit2.bundle.manifest import Engine, TensorFacts
from mvit2.errors import BundleError
from mvit2.native_calls import native_call

__all__ = ["Array", "Backend", "cannot_open"]

Array = NDArray[Any]


class Backend(ABC):
    """A model opened on an engine; engine and precision are the file's business.

    Attributes:
        model: the file.
        inputs, outputs: in the model's own order; a dimension of None takes any size.
    """

    engine: ClassVar[Engine]
    title: ClassVar[str]
    model: Path
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]

    def run_all(self, arrays: Sequence[Array]) -> list[Array]:
        """An array for each input, of its dtype and shape -> one for each output. Threads may share a model.

        The results are the caller's to keep and to change. Raises BundleError: the model does not run on these.
        """
        try:
            with native_call("running", self.model):
                return self._run(arrays)
        except MemoryError:
            raise
        except Exception as error:  # the engines raise classes of their C++ bindings, without a common base
            said = f"{self.title}: {_said(error)}"
            raise BundleError(f"{self.model} does not run ({said}); check or replace the file.") from None

    @abstractmethod
    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        """As run_all. Raises whatever the engine raises."""

    def run(self, batch: Array) -> Array:
        """Of a model with one input: its first output, which is the one that answers."""
        return self.run_all([batch])[0]

    @property
    def input(self) -> TensorFacts:
        return self.inputs[0]

    @property
    def output(self) -> TensorFacts:
        return self.outputs[0]

    @property
    def open_inputs(self) -> tuple[str, ...]:
        """Names of the inputs with an open dimension."""
        return tuple(facts.name for facts in self.inputs if None in facts.shape)


def cannot_open(model: Path, engine: str, error: Exception) -> BundleError:
    return BundleError(f"{model}: {engine} cannot open it ({_said(error)}).")


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
