"""An evaluation's images shared out among processes of this machine; each opens every artifact with one thread.

The parent hands out a few images at a time and always one such chunk more than a process works on, so that its
second thread can decode and resize them while the first one runs the models.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from typing import Any, cast

from mvit2.errors import Mvit2Error
from mvit2.held_signals import INTERRUPTS
from mvit2.runtime.machine import usable_cores
from mvit2.runtime.tasks.picture import Job, Picture
from mvit2.runtime.tasks.record import Row
from mvit2.worker_process import how_it_ended

from .worker import Chunk, chunks_of, failure, open_all, rows_of

__all__ = ["Pipe", "receive", "report", "run_shards", "workers"]

_AHEAD = 3  # chunks a process has been given: one at the models, one decoded, one being decoded
_REMEDY = "rerun with fewer --processes."

Pipe = connection.Connection


def run_shards(job: Job, todo: Sequence[Picture], processes: int | None) -> Generator[list[Row[Any]]]:
    """Rows of the images ``todo``, a few at a time as they are done, in no order. Close it to end all processes.

    Raises Mvit2Error: a process was killed, or an image was changed; a model's answer is no number (CheckFailed).
    """
    chunks = deque(chunks_of(todo))
    left = len(chunks)
    with workers(_work, (job,), min(processes or usable_cores(), left)) as at_work:
        for pipe in list(at_work) * _AHEAD:
            _hand_out(chunks, pipe, at_work)
        while left:
            for pipe in cast(list[Pipe], connection.wait(list(at_work))):
                rows = receive(pipe, at_work[pipe], _REMEDY)
                left -= 1
                _hand_out(chunks, pipe, at_work)
                yield rows


def _hand_out(chunks: deque[Chunk], pipe: Pipe, at_work: dict[Pipe, SpawnProcess]) -> None:
    if chunks:
        try:
            pipe.send(chunks.popleft())
        except OSError:
            raise _lost(at_work[pipe], _REMEDY) from None


def receive(pipe: Pipe, worker: SpawnProcess, remedy: str) -> list[Row[Any]]:
    """Raises the Mvit2Error that the worker reports, or one that tells of its death and the ``remedy``."""
    try:
        found: list[Row[Any]] | Mvit2Error = pipe.recv()
    except (EOFError, OSError):
        raise _lost(worker, remedy) from None
    if isinstance(found, Mvit2Error):
        raise found
    return found


def _lost(worker: SpawnProcess, remedy: str) -> Mvit2Error:
    worker.join(5)
    end = "is gone" if worker.exitcode is None else how_it_ended(worker.exitcode)
    return Mvit2Error(f"an evaluation worker {end}; {remedy}")


@contextmanager
def workers(
    target: Callable[..., None], arguments: tuple[Any, ...], count: int, patience: float = 0
) -> Iterator[dict[Pipe, SpawnProcess]]:
    """Processes that run ``target(*arguments, pipe)``, by their pipes.

    At the end the pipes are closed, and who lives ``patience`` seconds later is killed.
    """
    spawn = multiprocessing.get_context("spawn")
    started: dict[Pipe, SpawnProcess] = {}
    try:
        for _ in range(count):
            ours, theirs = spawn.Pipe()
            with theirs, _signals_blocked():
                worker = spawn.Process(target=target, args=(*arguments, theirs), daemon=True)
                started[ours] = worker
                worker.start()
        yield started
    finally:
        for pipe in started:
            pipe.close()
        for worker in [w for w in started.values() if w.pid is not None]:
            worker.join(patience)
            worker.kill()
            worker.join()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Processes started here never hear a Ctrl-C: the terminal sends it to all, and the parent is who ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # else the first start does it, and unblocks SIGINT again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ---- in the worker ----


def _work(job: Job, pipe: Pipe) -> None:
    try:
        for rows in rows_of(job, open_all(job), _received(pipe)):
            pipe.send(rows)
    except Exception as error:
        report(pipe, error)


def _received(pipe: Pipe) -> Iterator[Chunk]:
    """Chunks until the parent is gone."""
    with suppress(EOFError, OSError):
        while True:
            yield pipe.recv()


def report(pipe: Pipe, error: Exception) -> None:
    with suppress(OSError):  # the parent is gone
        pipe.send(failure(error))
