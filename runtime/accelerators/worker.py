"""One file at one place, in a process of its own: ``python -m mvit2.runtime.accelerators.worker FOLDER``.

Compilers and drivers abort, print and hang, and they are native code that reads untrusted files. What they do to this
process is a fact about the file, and costs the caller nothing.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.scratch import scratch_folder
from mvit2.strict_json import decode
from mvit2.worker_process import run_worker, start_worker

from .accelerator import Accelerator, Job, Run, one_line

__all__ = ["run_apart"]

_REQUEST, _RUN, _OUTPUTS, _INPUTS = "request.json", "run.json", "outputs.npy", "inputs.npy"


@dataclass(frozen=True)
class _Request:
    accelerator: str
    file: str
    chip: str
    operators: int
    compiled: str | None


def run_apart(
    accelerator: Accelerator,
    chip: str,
    file: Path,
    inputs: NDArray[Any],
    operators: int,
    compiled: Path | None = None,
) -> Run:
    """What ``accelerator`` says of ``file``. A process that dies or takes too long is a failure, never an exception."""
    with scratch_folder() as folder:
        np.save(folder / _INPUTS, inputs)
        target = None if compiled is None else str(compiled.absolute())
        request = _Request(accelerator.name, str(file.absolute()), chip, operators, target)
        (folder / _REQUEST).write_text(json.dumps(asdict(request)), encoding="utf-8")
        ended = run_worker("mvit2.runtime.accelerators.worker", folder, limit=accelerator.limit_seconds)
        failure = f"its process {ended.how}: {one_line(ended.last_line)}"
        if ended.how is None:
            try:
                return _read(folder)
            except (OSError, ValueError) as error:
                failure = f"its process left no result: {one_line(error)}"
        return Run(accelerator.chips[chip] or "unknown", accelerator.arithmetic, failure=failure)


def _read(folder: Path) -> Run:
    said: Run = decode(Run, json.loads((folder / _RUN).read_text(encoding="utf-8")), "run")
    outputs = np.load(folder / _OUTPUTS) if (folder / _OUTPUTS).exists() else None
    return replace(said, outputs=outputs)


def _main(folder: Path) -> None:
    from .table import ACCELERATORS

    request: _Request = decode(_Request, json.loads((folder / _REQUEST).read_text(encoding="utf-8")), "request")
    compiled = None if request.compiled is None else Path(request.compiled)
    inputs = np.load(folder / _INPUTS)
    job = Job(Path(request.file), request.chip, inputs, request.operators, folder, compiled)
    run = ACCELERATORS[request.accelerator].run(job)
    if run.outputs is not None:
        np.save(folder / _OUTPUTS, run.outputs)
    (folder / _RUN).write_text(json.dumps(asdict(replace(run, outputs=None))), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # drivers that crash while they are unloaded change nothing of what was found


if __name__ == "__main__":
    start_worker()
    _main(Path(sys.argv[1]))
