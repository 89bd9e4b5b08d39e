"""An evaluation's images shared out on a Ray cluster, when one machine is not enough.

A process of its own speaks to Ray, so that neither its output, its signal handlers nor its way of dying are ours.
The models travel through Ray's object store; images are read where they lie, on storage that all nodes share. A
few chunks of images are a task; when its worker or its node dies, the task begins anew elsewhere.
"""

from __future__ import annotations

import os
import platform
import signal
import tempfile
from collections import Counter, deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvit2.bundle.manifest import verified_path
from mvit2.errors import Mvit2Error
from mvit2.held_signals import INTERRUPTS
from mvit2.runtime.engines.backend import Backend
from mvit2.runtime.machine import usable_cores
from mvit2.runtime.tasks.picture import Job, Picture
from mvit2.runtime.tasks.record import Row
from mvit2.versions import installed

from .local_pool import Pipe, receive, report, workers
from .ray_cluster import checked_address, cluster, cpus
from .worker import Chunk, chunks_of, failure, open_all, rows_of

if TYPE_CHECKING:
    from ray import ObjectRef

__all__ = ["run_on_ray"]

_CHUNKS = 4  # of a task: what is lost with a worker; the decoding thread is ahead within them
_ATTEMPTS = 3  # at the same images, before they are what kills workers
_POLL_SECONDS = 0.25
_PATIENCE_SECONDS = 30  # for Ray to start, at worst, and to end
_LIBRARIES = ("mvit2", "numpy", "pillow", "onnxruntime", "ai-edge-litert")  # another version, other digits
_REMEDY = "see that the Ray cluster is up, and rerun; with fewer --processes if the memory was not enough."

Task = list[Chunk]


@dataclass(frozen=True)
class _Parcel:
    """What a worker needs and its node may not have."""

    job: Job
    models: dict[str, bytes]  # by their paths in the bundle
    versions: dict[str, str]


def run_on_ray(
    job: Job, todo: Sequence[Picture], processes: int | None, address: str | None
) -> Generator[list[Row[Any]]]:
    """As run_shards, on the cluster at ``address``, else at RAY_ADDRESS, else on one that ends with this generator.

    Args:
        processes: how many workers at once; None: as many as the cluster has CPUs.
        address: HOST:PORT of the cluster's head, or "auto" for the cluster that this machine is part of.

    Raises:
        UsageError: another kind of address.
        MissingEngineError: Ray is not installed.
        Mvit2Error: no cluster there; a node that sees other images or has other versions; images at which three
            workers died; and as run_shards.
    """
    address = checked_address(address)
    left = len(todo)
    if not left:
        return
    with workers(_drive, (job, todo, processes, address), 1, _PATIENCE_SECONDS) as drivers:
        [(pipe, driver)] = drivers.items()
        while left:
            rows = receive(pipe, driver, _REMEDY)
            left -= len(rows)
            yield rows


# ---- in the process that speaks to Ray ----


def _drive(job: Job, todo: Sequence[Picture], processes: int | None, address: str, pipe: Pipe) -> None:
    _detach()
    try:
        parts = [part for artifact in job.artifacts for part in artifact.parts]
        models = {part.path: verified_path(job.bundle, part).read_bytes() for part in parts}
        parcel = _Parcel(job, models, installed(_LIBRARIES))
        with cluster(address, processes or usable_cores(), sum(map(len, models.values()))) as found:
            _share_out(parcel, todo, processes or found, pipe)
    except Exception as error:
        report(pipe, error)


def _detach() -> None:
    """Signals to the terminal's processes are the parent's; Ray's processes inherit nothing blocked or ignored."""
    if hasattr(os, "setsid"):
        os.setsid()
        for number in INTERRUPTS:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    silence = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silence, stream)


def _share_out(parcel: _Parcel, todo: Sequence[Picture], most: int, pipe: Pipe) -> None:
    """At most ``most`` tasks at once; ends with the last one, or with the parent."""
    import ray

    sent = [ray.put(parcel)]  # in a list, else Ray would open it for every task
    answer = ray.remote(num_cpus=1, max_retries=0)(_answer)
    chunks = chunks_of(todo)
    waiting = deque(chunks[i : i + _CHUNKS] for i in range(0, len(chunks), _CHUNKS))
    running: dict[ObjectRef[Any], Task] = {}
    deaths: Counter[int] = Counter()
    while waiting or running:
        while waiting and len(running) < most:
            task = waiting.popleft()
            running[answer.remote(sent, task)] = task
        ready, _ = ray.wait(list(running), timeout=_POLL_SECONDS)
        if pipe.poll():  # its end: the parent wants no more
            return
        if not ready:
            cpus()
        for reference in ready:
            task = running.pop(reference)
            rows = _result(reference, task, deaths)
            if rows is None:
                waiting.appendleft(task)  # first, so that images that kill workers are soon known
            else:
                pipe.send(rows)


def _result(reference: ObjectRef[Any], task: Task, deaths: Counter[int]) -> list[Row[Any]] | None:
    """Rows, or None where the worker or its node died; Mvit2Error when that has happened too often."""
    import ray

    first = task[0][0]
    try:
        found: list[Row[Any]] | Mvit2Error = ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # the function itself could not begin
        reason = str(error).strip().splitlines()[-1][:200]
        raise Mvit2Error(
            f"a Ray worker failed ({reason}); accepted: nodes with the same Python packages; install mvit2 there."
        ) from None
    except ray.exceptions.RayError as error:
        deaths[first.index] += 1
        if deaths[first.index] < _ATTEMPTS:
            return None
        raise Mvit2Error(
            f"{_ATTEMPTS} Ray workers died at the {sum(map(len, task))} images from {first.file.path} on "
            f"({type(error).__name__}); accepted: at most {_ATTEMPTS - 1}; if the memory was not enough, give fewer "
            "--processes."
        ) from None
    if isinstance(found, Mvit2Error):
        raise found
    return found


# ---- in a Ray worker ----


def _answer(sent: list[ObjectRef[_Parcel]], task: Task) -> list[Row[Any]] | Mvit2Error:
    try:
        job, backends = _opened(sent[0])
        return [row for rows in rows_of(job, backends, task) for row in rows]
    except Exception as error:
        return failure(error)


@lru_cache(1)  # once in a worker process
def _opened(sent: ObjectRef[_Parcel]) -> tuple[Job, list[Backend]]:
    import ray

    parcel = ray.get(sent)
    _check_versions(parcel.versions)
    with tempfile.TemporaryDirectory(prefix="mvit2-", ignore_cleanup_errors=True) as folder:
        job = replace(parcel.job, bundle=Path(folder))
        for path, content in parcel.models.items():
            (job.bundle / path).parent.mkdir(parents=True, exist_ok=True)
            (job.bundle / path).write_bytes(content)
        return job, open_all(job)  # which verifies every sha256; open models need their files no more


def _check_versions(planned: Mapping[str, str]) -> None:
    """Raises Mvit2Error where a library that computes is not the one of the machine that planned."""
    here = installed(_LIBRARIES)
    other = [name for name in planned if here.get(name) != planned[name]]
    if other:
        has = ", ".join(f"{name} {here.get(name, '(none)')}" for name in other)
        wants = ", ".join(f"{name} {planned[name]}" for name in other)
        raise Mvit2Error(
            f"{platform.node()} has {has}; accepted: {wants}, as where the evaluation was planned, or figures would "
            "depend on who computes them; install that there."
        )
