"""An evaluation's pictures shared out among processes; each opens every artifact with one thread.

The parent hands out a few pictures at a time and always one such chunk more than a process works on, so that its
second thread can decode and resize them while the first one runs the models. A picture's answers do not depend on who
computes them: no batches, one thread.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from pathlib import Path
from queue import Queue
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mvit2.errors import CheckFailed, ImageError, Mvit2Error
from mvit2.fidelity import centred_logits
from mvit2.image import preprocess
from mvit2.manifest import Artifact, Manifest

from .backend import Backend
from .classifier import open_artifact, scores_of
from .progress import Answer, Row

__all__ = ["Job", "answers_of", "run_shards"]

_CHUNK = 8  # pictures; few enough to lose, enough that a model's weights stay in the cache between them
_AHEAD = 3  # chunks a process has been given: one at the models, one decoded, one being decoded
_TOP = 5
_SMALLEST_PROBABILITY = 1e-30  # as in mvit2.fidelity

Pipe = connection.Connection
Pictures = list[tuple[int, NDArray[np.uint8] | ImageError]]


@dataclass(frozen=True)
class Job:
    """What every process must know. ``reference`` is the place of the float32 artifact that others are held against."""

    bundle: Path
    manifest: Manifest
    artifacts: tuple[Artifact, ...]
    pictures: tuple[Path, ...]
    reference: int | None


def run_shards(job: Job, todo: Sequence[int], processes: int) -> Generator[list[Row]]:
    """Rows of the pictures ``todo``, a few at a time as they are done, in no order. Close it to end all processes.

    Raises Mvit2Error: a process was killed, or a model's answer is no number (CheckFailed).
    """
    chunks = deque(todo[i : i + _CHUNK] for i in range(0, len(todo), _CHUNK))
    left = len(chunks)
    with _workers(job, min(processes, left)) as workers:
        for pipe in list(workers) * _AHEAD:
            _hand_out(chunks, pipe, workers)
        while left:
            for pipe in cast(list[Pipe], connection.wait(list(workers))):
                try:
                    found: list[Row] | Mvit2Error = pipe.recv()
                except (EOFError, OSError):
                    raise _lost(workers[pipe], len(workers)) from None
                if isinstance(found, Mvit2Error):
                    raise found
                left -= 1
                _hand_out(chunks, pipe, workers)
                yield found


def _hand_out(chunks: deque[Sequence[int]], pipe: Pipe, workers: dict[Pipe, SpawnProcess]) -> None:
    if chunks:
        try:
            pipe.send(list(chunks.popleft()))
        except OSError:
            raise _lost(workers[pipe], len(workers)) from None


def _lost(worker: SpawnProcess, processes: int) -> Mvit2Error:
    worker.join(5)
    code = worker.exitcode
    end = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exited with {code}"
    return Mvit2Error(
        f"a process of the evaluation {end}; accepted: all {processes} live to the end; if the memory was not enough, "
        "give fewer --processes."
    )


@contextmanager
def _workers(job: Job, count: int) -> Iterator[dict[Pipe, SpawnProcess]]:
    """Processes by their pipes; killed at the end, which costs nothing, for they hold nothing."""
    spawn = multiprocessing.get_context("spawn")
    workers: dict[Pipe, SpawnProcess] = {}
    try:
        for _ in range(count):
            ours, theirs = spawn.Pipe()
            with theirs, _deaf():
                worker = spawn.Process(target=_work, args=(job, theirs), daemon=True)
                workers[ours] = worker
                worker.start()
        yield workers
    finally:
        for pipe in workers:
            pipe.close()
        for worker in [w for w in workers.values() if w.pid is not None]:
            worker.kill()
            worker.join()


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes started here never hear a Ctrl-C: the terminal sends it to all, and the parent is who ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # else the first start does it, and unblocks SIGINT again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ---- in the worker ----


def _work(job: Job, pipe: Pipe) -> None:
    try:
        backends = [open_artifact(job.bundle, job.manifest, artifact, 1) for artifact in job.artifacts]
        decoded: Queue[Pictures | Exception | None] = Queue(1)
        threading.Thread(target=_decode, args=(job, pipe, decoded), daemon=True).start()
        while (pictures := decoded.get()) is not None:
            if isinstance(pictures, Exception):
                raise pictures
            pipe.send(_rows(job, backends, pictures))
    except Mvit2Error as error:
        _report(pipe, error)
    except Exception as error:  # an engine's own, or no memory: one line at the parent, no traceback
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        _report(pipe, Mvit2Error(f"a process of the evaluation failed ({reason}); try fewer --processes."))


def _report(pipe: Pipe, error: Mvit2Error) -> None:
    with suppress(OSError):  # the parent is gone
        pipe.send(error)


def _decode(job: Job, pipe: Pipe, decoded: Queue[Pictures | Exception | None]) -> None:
    """The image pipeline, a chunk ahead of the models. Ends with the parent."""
    try:
        while True:
            decoded.put([(i, _pixels(job, i)) for i in pipe.recv()])
    except (EOFError, OSError):
        decoded.put(None)
    except Exception as error:
        decoded.put(error)


def _pixels(job: Job, picture: int) -> NDArray[np.uint8] | ImageError:
    try:
        return preprocess(job.pictures[picture], job.manifest.preprocess)
    except ImageError as error:
        return error


def _rows(job: Job, backends: Sequence[Backend], pictures: Pictures) -> list[Row]:
    """Model by model, so that each one's weights are in the cache for the whole chunk."""
    manifest = job.manifest
    readable = {i: pixels[None] for i, pixels in pictures if not isinstance(pixels, ImageError)}
    scores: dict[int, list[NDArray[np.float32]]] = {i: [] for i in readable}
    for backend, artifact in zip(backends, job.artifacts, strict=True):
        for i, pixels in readable.items():
            scores[i].append(scores_of(backend, manifest.io, manifest.preprocess, pixels)[0])
            if not np.isfinite(scores[i][-1]).all():
                raise CheckFailed(
                    f"{artifact.file.path} answers NaN or Inf for {str(job.pictures[i])!r}; accepted: probabilities; "
                    "the model is broken: export it again."
                )
    found = [Row(i, error=str(pixels)) for i, pixels in pictures if isinstance(pixels, ImageError)]
    return found + [Row(i, *answers_of(of_picture, job.reference)) for i, of_picture in scores.items()]


def answers_of(scores: Sequence[NDArray[Any]], reference: int | None) -> tuple[float, tuple[Answer, ...]]:
    """Probabilities [classes] of one picture by each artifact -> the reference's power, and everyone's answer."""
    logits = None if reference is None else centred_logits(scores[reference])
    power = 0.0 if logits is None else float(np.square(logits).sum())
    answers = []
    for values in scores:
        best = np.argsort(-values, kind="stable")[:_TOP]
        noise = drift = None
        if logits is not None and reference is not None:
            noise = float(np.square(centred_logits(values) - logits).sum())
            first = int(scores[reference].argmax())
            drift = abs(_log(values[first]) - _log(scores[reference][first]))
        answers.append(Answer(tuple(map(int, best)), tuple(float(values[i]) for i in best), noise, drift))
    return power, tuple(answers)


def _log(probability: Any) -> float:
    return math.log(max(float(probability), _SMALLEST_PROBABILITY))
