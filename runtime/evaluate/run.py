"""How good every artifact of a bundle is on labelled images, and where it goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

from mvit2.errors import ImageError, UsageError, did_you_mean
from mvit2.runtime.machine import usable_cores
from mvit2.runtime.tasks.classify.metrics import Evaluation
from mvit2.runtime.tasks.picture import File, Job, Picture
from mvit2.runtime.tasks.record import Row
from mvit2.runtime.tasks.segment.metrics import MaskEvaluation

from .local_pool import run_shards
from .plan import Plan
from .ray_pool import run_on_ray
from .results_file import Progress

__all__ = ["EXECUTORS", "Executor", "evaluate"]


class _Runner(NamedTuple):
    """Takes the job, the images to do, how many processes (None: its own choice), an address; gives their rows."""

    run: Callable[[Job, Sequence[Picture], int | None, str | None], Generator[list[Row[Any]]]]
    most_processes: int


EXECUTORS: Mapping[str, _Runner] = {
    "local": _Runner(lambda job, todo, processes, _: run_shards(job, todo, processes), 256),
    "ray": _Runner(run_on_ray, 4096),
}


@dataclass(frozen=True)
class Executor:
    """Where the work is done: "local", by processes of this machine, or "ray", on the Ray cluster at ``address``."""

    name: str = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.name not in EXECUTORS:
            near = did_you_mean(self.name, EXECUTORS)
            raise UsageError(f"the executor is {self.name!r}, accepted: {', '.join(EXECUTORS)}.{near}")
        if self.address is not None and self.name == "local":
            raise UsageError(f"the address {self.address!r} is of a cluster; accepted with --executor ray only.")


def evaluate(
    plan: Plan,
    progress: Progress,
    processes: int | None = None,
    worst: int = 20,
    advance: Callable[[int], None] = lambda pictures: None,
    executor: Executor = Executor(),
) -> Evaluation | MaskEvaluation:
    """Run the artifacts on all images that ``progress`` does not know yet. The processes end with this call.

    Args:
        processes: how many work side by side, each on its own copies of the models; None: one for each core.
        worst: how many disagreements are kept.
        advance: called with the number of images that were done since.
        executor: where they work. The figures depend neither on it nor on how many they are.

    Raises:
        UsageError: processes not in 1..256 (4096 on Ray), worst below 0; no pixel of the masks counts.
        ImageError: none of the images can be read.
        Mvit2Error: a process was killed, an image was changed; what was done is in ``progress``. CheckFailed: a model
            answers NaN or Inf. And what mvit2.runtime.evaluate.ray_pool.run_on_ray raises.
    """
    run, most = EXECUTORS[executor.name]
    if processes is not None and not 1 <= processes <= most:
        raise UsageError(f"processes is {processes}, accepted: 1 to {most}; this machine has {usable_cores()} cores.")
    if worst < 0:
        raise UsageError(f"worst is {worst}, accepted: 0 or more.")
    job = Job(plan.bundle, plan.manifest, plan.artifacts, plan.reference, plan.ignored)
    files = (File(path.absolute(), size) for path, size in zip(plan.pictures, plan.sizes, strict=True))
    pictures = (Picture(i, *known) for i, known in enumerate(zip(files, plan.truth, strict=True)))
    todo = [picture for picture in pictures if picture.index not in progress.rows]
    with closing(run(job, todo, processes, executor.address)) as shards:
        for rows in shards:
            progress.add(rows)
            advance(len(rows))
    rows = list(progress.rows.values())
    if all(row.error is not None for row in rows):
        raise ImageError(f"none of the {len(rows)} images in {plan.source} can be read; the first: {rows[0].error}")
    return plan.metric.summarise(plan.subject, rows, worst)
