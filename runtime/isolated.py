"""A model run in a process of its own: a kernel that aborts takes that process down and not ours."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import IO
from mvit2.errors import ConversionError
from mvit2.image.preprocess import to_pixel_values
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime.tasks.outputs import PROBABILITIES, Output
from mvit2.scratch import scratch_folder
from mvit2.worker_process import run_worker, start_worker

__all__ = ["scores_apart"]

_TIMEOUT_SECONDS = 3600


def scores_apart(
    model: Path, io: IO, spec: PreprocessSpec, pixels: NDArray[np.uint8], output: Output = PROBABILITIES
) -> NDArray[Any]:
    """As runtime.tasks.bundle_model.scores_of. Raises ConversionError: the process dies, or returns NaN or Inf."""
    with scratch_folder() as scratch:
        inputs, outputs = scratch / "inputs.npy", scratch / "outputs.npy"
        np.save(inputs, pixels if io == "image" else to_pixel_values(pixels, spec))
        ended = run_worker("mvit2.runtime.isolated", model.absolute(), inputs, outputs, limit=_TIMEOUT_SECONDS)
        if ended.how:
            raise ConversionError(f"running {model.name} failed: its process {ended.how}: {ended.last_line}")
        scores: NDArray[Any] = np.load(outputs)
    if not np.isfinite(scores).all():
        raise ConversionError(f"{model.name} returned NaN or Inf.")
    return scores if io == "image" else output.of_network(scores).astype(output.dtype)


def _main(model: str, inputs: str, outputs: str) -> None:
    from mvit2.runtime.engines.table import open_model

    backend = open_model(Path(model))
    batches = np.load(inputs)
    np.save(outputs, np.concatenate([backend.run(batch[None]) for batch in batches]))


if __name__ == "__main__":
    start_worker()
    _main(*sys.argv[1:])
