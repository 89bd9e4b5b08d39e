"""A model run in a process of its own: a kernel that aborts takes that process down and not ours."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import IO
from mvit2.errors import ConversionError
from mvit2.image.preprocess import to_pixel_values
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime.tasks.outputs import PROBABILITIES, Output

__all__ = ["scores_apart"]

_TIMEOUT_SECONDS = 3600


def scores_apart(
    model: Path, io: IO, spec: PreprocessSpec, pixels: NDArray[np.uint8], output: Output = PROBABILITIES
) -> NDArray[Any]:
    """As runtime.artifact.scores_of. Raises ConversionError when the process dies or the scores are no numbers."""
    with tempfile.TemporaryDirectory(prefix="mvit2-") as scratch:
        inputs, outputs = Path(scratch) / "inputs.npy", Path(scratch) / "outputs.npy"
        np.save(inputs, pixels if io == "image" else to_pixel_values(pixels, spec))
        command = [sys.executable, "-m", "mvit2.runtime.isolated", str(model), str(inputs), str(outputs)]
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it printed nothing"]
            died = done.returncode < 0
            end = f"was killed by {signal.Signals(-done.returncode).name}" if died else f"exited {done.returncode}"
            raise ConversionError(f"running {model.name} failed: its process {end}: {lines[-1][:200]}")
        scores: NDArray[Any] = np.load(outputs)
    if not np.isfinite(scores).all():
        raise ConversionError(f"{model.name} answers NaN or Inf; accepted: {output.name}. The model is broken.")
    return scores if io == "image" else output.of_network(scores).astype(output.dtype)


def _main(model: str, inputs: str, outputs: str) -> None:
    from mvit2.runtime.engines.table import open_model

    backend = open_model(Path(model))
    batches = np.load(inputs)
    np.save(outputs, np.concatenate([backend.run(batch[None]) for batch in batches]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
