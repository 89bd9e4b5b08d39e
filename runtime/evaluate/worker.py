"""From images to rows: the work of one process of an evaluation, whichever executor started it.

An image's answers do not depend on who computes them: no batches, one thread for each model.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterable, Iterator, Sequence
from queue import Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.errors import CheckFailed, ImageError, Mvit2Error
from mvit2.image.placement import Placement
from mvit2.image.preprocess import preprocess_placed
from mvit2.runtime.engines.backend import Backend
from mvit2.runtime.tasks.bundle_model import open_artifact, scores_of
from mvit2.runtime.tasks.outputs import output_of
from mvit2.runtime.tasks.picture import Job, Picture, size_of
from mvit2.runtime.tasks.record import Row
from mvit2.runtime.tasks.table import metric_of

__all__ = ["Chunk", "chunks_of", "failure", "open_all", "rows_of"]

_CHUNK = 8  # images; few enough to lose, enough that a model's weights stay in the cache between them


Chunk = Sequence[Picture]
Pixels = tuple[NDArray[np.uint8], Placement]
Decoded = list[tuple[Picture, Pixels | ImageError]]


def chunks_of(todo: Sequence[Picture]) -> list[Chunk]:
    return [todo[i : i + _CHUNK] for i in range(0, len(todo), _CHUNK)]


def open_all(job: Job) -> list[Backend]:
    return [open_artifact(job.bundle, job.manifest, artifact, 1) for artifact in job.artifacts]


def rows_of(job: Job, backends: Sequence[Backend], chunks: Iterable[Chunk]) -> Iterator[list[Row[Any]]]:
    """Rows of each chunk. A second thread decodes and resizes the next one while this one runs the models.

    Raises Mvit2Error: an image is not the one that was planned. CheckFailed: a model answers NaN or Inf.
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
    return Mvit2Error(f"an evaluation worker failed ({reason}); try fewer --processes.")


def _decode(job: Job, chunks: Iterable[Chunk], decoded: Queue[Decoded | Exception | None]) -> None:
    try:
        for chunk in chunks:
            decoded.put([(picture, _pixels(job, picture)) for picture in chunk])
        decoded.put(None)
    except Exception as error:
        decoded.put(error)


def _pixels(job: Job, picture: Picture) -> Pixels | ImageError:
    for file in picture.files:
        found = size_of(file.path)
        if found != file.size:
            here, planned = ("cannot be read" if n is None else f"has {n} bytes" for n in (found, file.size))
            raise Mvit2Error(
                f"{file.path} {here} on {platform.node()}, but {planned} where the evaluation was planned; accepted: "
                "the same images on every machine that takes part, unchanged to the end; put them on shared storage."
            )
    try:
        return preprocess_placed(picture.file.path, job.manifest.preprocess)
    except ImageError as error:
        return error


def _rows(job: Job, backends: Sequence[Backend], pictures: Decoded) -> list[Row[Any]]:
    """Model by model, so that each one's weights are in the cache for the whole chunk."""
    manifest, output = job.manifest, output_of(job.manifest)
    readable = [(picture, *seen) for picture, seen in pictures if not isinstance(seen, ImageError)]
    outputs: dict[int, list[NDArray[Any]]] = {picture.index: [] for picture, _, _ in readable}
    for backend, artifact in zip(backends, job.artifacts, strict=True):
        for picture, pixels, _ in readable:
            found = scores_of(backend, manifest.io, manifest.preprocess, pixels[None], output)[0]
            if not output.sound(found, manifest.class_count):
                raise CheckFailed(
                    f"{artifact.file.path} returned NaN, Inf or a class that it does not have for "
                    f"{str(picture.file.path)!r}, instead of {output.name} of {manifest.classes} classes; export it "
                    "again."
                )
            outputs[picture.index].append(found)
    judge = metric_of(manifest).judge
    rows = [judge(job, picture, placement, outputs[picture.index]) for picture, _, placement in readable]
    return rows + [Row(picture.index, error=str(error)) for picture, error in pictures if isinstance(error, ImageError)]
