"""From pictures to rows: the work of one process of an evaluation, whichever engine started it.

A picture's answers do not depend on who computes them: no batches, one thread for each model.
"""

from __future__ import annotations

import math
import os
import platform
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.errors import CheckFailed, ImageError, Mvit2Error
from mvit2.fidelity import SMALLEST_PROBABILITY, centred_logits
from mvit2.image import preprocess
from mvit2.manifest import Artifact, Manifest

from .artifact import open_artifact, scores_of
from .backend import Backend
from .progress import Answer, Row

__all__ = ["Chunk", "Job", "Picture", "answers_of", "chunks_of", "failure", "open_all", "rows_of", "size_of"]

_CHUNK = 8  # pictures; few enough to lose, enough that a model's weights stay in the cache between them
_TOP = 5


@dataclass(frozen=True)
class Picture:
    """Its place in the list, where it lies (absolute), and its ``size_of`` when the evaluation was planned."""

    index: int
    path: Path
    size: int | None


Chunk = Sequence[Picture]
Decoded = list[tuple[Picture, NDArray[np.uint8] | ImageError]]


@dataclass(frozen=True)
class Job:
    """What every process must know. ``reference`` is the place of the float32 artifact that others are held against."""

    bundle: Path
    manifest: Manifest
    artifacts: tuple[Artifact, ...]
    reference: int | None


def size_of(path: Path) -> int | None:
    """In bytes; None where there is no file that may be read."""
    return path.stat().st_size if os.access(path, os.R_OK) else None


def chunks_of(todo: Sequence[Picture]) -> list[Chunk]:
    return [todo[i : i + _CHUNK] for i in range(0, len(todo), _CHUNK)]


def open_all(job: Job) -> list[Backend]:
    return [open_artifact(job.bundle, job.manifest, artifact, 1) for artifact in job.artifacts]


def rows_of(job: Job, backends: Sequence[Backend], chunks: Iterable[Chunk]) -> Iterator[list[Row]]:
    """Rows of each chunk. A second thread decodes and resizes the next one while this one runs the models.

    Raises Mvit2Error: a picture is not the one that was planned. CheckFailed: a model answers NaN or Inf.
    """
    decoded: Queue[Decoded | Exception | None] = Queue(1)
    threading.Thread(target=_decode, args=(job, chunks, decoded), daemon=True).start()
    while (pictures := decoded.get()) is not None:
        if isinstance(pictures, Exception):
            raise pictures
        yield _rows(job, backends, pictures)


def failure(error: Exception) -> Mvit2Error:
    """What a process says of its end: an engine's own error, or no memory, becomes one line without a traceback."""
    if isinstance(error, Mvit2Error):
        return error
    reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
    return Mvit2Error(f"a process of the evaluation failed ({reason}); try fewer --processes.")


def _decode(job: Job, chunks: Iterable[Chunk], decoded: Queue[Decoded | Exception | None]) -> None:
    try:
        for chunk in chunks:
            decoded.put([(picture, _pixels(job, picture)) for picture in chunk])
        decoded.put(None)
    except Exception as error:
        decoded.put(error)


def _pixels(job: Job, picture: Picture) -> NDArray[np.uint8] | ImageError:
    found = size_of(picture.path)
    if found != picture.size:
        here, planned = ("cannot be read" if n is None else f"has {n} bytes" for n in (found, picture.size))
        raise Mvit2Error(
            f"{picture.path} {here} on {platform.node()}, but {planned} where the evaluation was planned; accepted: "
            "the same pictures on every machine that takes part, unchanged to the end; put them on shared storage."
        )
    try:
        return preprocess(picture.path, job.manifest.preprocess)
    except ImageError as error:
        return error


def _rows(job: Job, backends: Sequence[Backend], pictures: Decoded) -> list[Row]:
    """Model by model, so that each one's weights are in the cache for the whole chunk."""
    manifest = job.manifest
    readable = [(picture, pixels[None]) for picture, pixels in pictures if not isinstance(pixels, ImageError)]
    scores: dict[int, list[NDArray[np.float32]]] = {picture.index: [] for picture, _ in readable}
    for backend, artifact in zip(backends, job.artifacts, strict=True):
        for picture, pixels in readable:
            found = scores_of(backend, manifest.io, manifest.preprocess, pixels)[0]
            if not np.isfinite(found).all():
                raise CheckFailed(
                    f"{artifact.file.path} answers NaN or Inf for {str(picture.path)!r}; accepted: probabilities; "
                    "the model is broken: export it again."
                )
            scores[picture.index].append(found)
    unreadable = [Row(picture.index, error=str(e)) for picture, e in pictures if isinstance(e, ImageError)]
    return unreadable + [Row(i, *answers_of(of_picture, job.reference)) for i, of_picture in scores.items()]


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
    return math.log(max(float(probability), SMALLEST_PROBABILITY))
