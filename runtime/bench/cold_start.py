"""What can only be measured in a process that holds one model and nothing else: loading, first inference, memory."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from mvit2.errors import BundleError
from mvit2.runtime.engines.random_inputs import random_inputs
from mvit2.runtime.engines.table import ENGINES, open_any
from mvit2.strict_json import decode
from mvit2.worker_process import give_answer, run_worker, start_worker

__all__ = ["Alone", "measure_alone", "peak_bytes"]

_TIMEOUT_SECONDS = 600
_RUNS = 3  # the arena of the engine has its full size after the first


@dataclass(frozen=True)
class Alone:
    """``load_ms``: opening the file, the engine being imported; ``peak_bytes``: of the whole process, or unknown."""

    load_ms: float
    first_ms: float
    peak_bytes: int | None


def measure_alone(model: Path, threads: int) -> Alone:
    """Open and run a model in a fresh process. Raises BundleError when that process fails."""
    ended = run_worker("mvit2.runtime.bench.cold_start", model.absolute(), threads, limit=_TIMEOUT_SECONDS)
    if ended.how:
        raise BundleError(f"{model}: its process {ended.how} ({ended.last_line}); check or replace the file.")
    try:
        alone: Alone = decode(Alone, ended.answer(), "answer")
    except ValueError as error:
        raise BundleError(f"{model}: its process {error}; check or replace the file.") from None
    return alone


def peak_bytes() -> int | None:
    """The most memory that this process has held at once, in bytes; None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    if sys.platform != "darwin":  # Linux's ru_maxrss may still be that of the parent
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _measure(model: Path, threads: int) -> Alone:
    if ENGINES[model.suffix].engine == "onnxruntime":  # importing an engine is not loading a model
        import onnxruntime  # noqa: F401
    else:
        import ai_edge_litert.interpreter  # noqa: F401
    start = time.perf_counter()
    opened = open_any(model, threads, in_turns=True)
    loaded = time.perf_counter()
    inputs = random_inputs(opened)
    before = time.perf_counter()
    opened.run_all(inputs)
    after = time.perf_counter()
    for _ in range(_RUNS - 1):
        opened.run_all(inputs)
    return Alone((loaded - start) * 1e3, (after - before) * 1e3, peak_bytes())


if __name__ == "__main__":
    start_worker()
    give_answer(asdict(_measure(Path(sys.argv[1]), int(sys.argv[2]))))
