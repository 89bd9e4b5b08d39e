"""``mvit2 evaluate``: the command, and what is said when it goes wrong. What is found is shown by ``VIEWS``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

from mvit2.errors import Mvit2Error, OutputError, UsageError
from mvit2.export.atomic import under_construction
from mvit2.export.cli import evaluate_classes, evaluate_masks
from mvit2.export.cli.console import screen
from mvit2.export.cli.interrupt import Interrupted
from mvit2.export.cli.options import (
    Artifacts,
    Bundle,
    Ignore,
    Json,
    Labelled,
    Number,
    Opt,
    Processes,
    Quiet,
    ReduceLabels,
    Split,
    Synsets,
    reading_of,
)
from mvit2.image.dataset import unread_images
from mvit2.tasks import CLASSIFY, SEGMENT, TaskName

if TYPE_CHECKING:
    from mvit2.runtime.evaluate.plan import Plan
    from mvit2.runtime.evaluate.results_file import Progress

__all__ = ["VIEWS", "evaluate"]

VIEWS: Mapping[TaskName, ModuleType] = {CLASSIFY.manifest: evaluate_classes, SEGMENT.manifest: evaluate_masks}
"""Each with ``show(found)``, the tables, and ``save(folder, plan, worst)``, files of the worst disagreements."""

_NAMES_SHOWN = 5
_LOCAL = "local"
_EXECUTOR = "Where the work is done: local, or ray, a cluster: --address, RAY_ADDRESS, else one of its own."
_SAVE = "Copy the images on which int8 is furthest from float32 there, with their masks where there are."
_RESUME = "Keep what is done in this file; the same command with the same file goes on there."

Resume = Annotated[Path | None, Opt(metavar="FILE", help=_RESUME)]
ExecutorName = Annotated[str, Opt("--executor", metavar="EXECUTOR", help=_EXECUTOR)]
OldExecutor = Annotated[str | None, Opt("--engine", hidden=True)]
Address = Annotated[str | None, Opt(metavar="ADDRESS", help="Of the Ray cluster: HOST:PORT of its head, or auto.")]
SaveWorst = Annotated[Path | None, Opt(metavar="FOLDER", help=_SAVE)]
Replace = Annotated[bool, Opt("--overwrite", help="Replace what an earlier --save-worst left there.")]
Worst = Annotated[int, Number(metavar="N", help="How many of these.")]


def evaluate(
    bundle: Bundle,
    source: Labelled,
    artifact: Artifacts = None,
    synsets: Synsets = None,
    split: Split = None,
    ignore: Ignore = None,
    reduce_labels: ReduceLabels = False,
    resume: Resume = None,
    processes: Processes = None,
    executor: ExecutorName = _LOCAL,
    engine: OldExecutor = None,
    address: Address = None,
    save_worst: SaveWorst = None,
    worst: Worst = 20,
    overwrite: Replace = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    from mvit2.runtime.evaluate.plan import plan as make_plan
    from mvit2.runtime.evaluate.results_file import open_progress
    from mvit2.runtime.evaluate.run import Executor
    from mvit2.runtime.evaluate.run import evaluate as run

    where = Executor(_executor(executor, engine), address)
    if save_worst is not None:
        _check_folder(save_worst, overwrite)
    with screen.step(f"looking at {source}", minor=True):
        plan = make_plan(bundle, source, artifact or (), reading_of(synsets, split, ignore, reduce_labels))
    _warn_of(plan, save_worst)
    view = VIEWS[plan.manifest.task]
    with (
        open_progress(resume, plan.header, plan.metric.answer) as progress,
        _kept(resume, progress, len(plan.pictures)),
    ):
        title = f"evaluating {len(plan.artifacts)} artifact(s) on {len(plan.pictures)} images"
        with screen.progress(title, len(plan.pictures), len(progress.rows)) as advance:
            found = run(plan, progress, processes, worst, advance, where)
    _warn_of_unreadable(found.unreadable, found.images)
    view.show(found)
    if save_worst is not None:
        with under_construction(save_worst, overwrite, screen.warn) as building:
            view.save(building, plan, found.worst)
        screen.result(f"copied: {save_worst} ({len(found.worst)} images, the worst first)")
    if resume is not None:
        screen.result(f"what was found of each image: {resume}")
    screen.result(f"next: mvit2 predict {bundle} IMAGE shows what each artifact says of one")
    empty, skipped = list(plan.empty), dict(plan.skipped)
    content = {"bundle": str(bundle), "source": str(source), "empty_classes": empty, "skipped": skipped}
    screen.json({**content, **asdict(found), "warnings": screen.warnings})


def _executor(executor: str, engine: str | None) -> str:
    """``--engine`` is what ``--executor`` was called before."""
    if engine is None:
        return executor
    screen.renamed("--engine", "--executor")
    if executor not in (_LOCAL, engine):
        raise UsageError(f"--engine {engine} and --executor {executor} say two things; leave out --engine.")
    return engine


# ---- what goes wrong ----


# As evaluate_classes and evaluate_masks name what they save; a camera's 20240131_142233.jpg is none of it.
_OURS = re.compile(r"\d{2,}_[A-Za-z0-9-]+(_as_[A-Za-z0-9-]+)?__")


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse early, before an hour of work. An empty folder may be there, or with ``overwrite`` one of ours."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(f"--save-worst {folder} is a file or a link; accepted: a new folder, or an empty one.")
    held = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    foreign = next((name for name in held if not _OURS.match(name)), None)
    if held and not overwrite:
        said = "accepted: a new folder, or an empty one; --overwrite replaces what an evaluation left there"
        raise OutputError(f"--save-worst {folder} exists already; {said}.")
    if foreign is not None:
        raise OutputError(f"--save-worst {folder} holds {foreign}, which is not of an evaluation; name another folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"--save-worst {folder} cannot be made ({error.strerror}); name a folder that can be."
        ) from None


def _warn_of(plan: Plan, save_worst: Path | None) -> None:
    precisions = {artifact.precision for artifact in plan.artifacts}
    if save_worst is not None and ("float32" not in precisions or len(precisions) < 2):
        held = ", ".join(artifact.file.path for artifact in plan.artifacts)
        raise UsageError(f"--save-worst compares a float32 artifact with quantised ones; evaluated are only: {held}.")
    for file, reason in plan.skipped:
        screen.warn(f"{file} was left out: {reason}")
    unread = unread_images(plan.source)
    if unread:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in unread.items())
        screen.warn(
            f"images of kinds that are not read are left out: {kinds}; convert them to JPEG or PNG to use them."
        )
    if plan.empty:
        screen.warn(f"{len(plan.empty)} class folder(s) without an image: {_some(plan.empty)}")


def _warn_of_unreadable(unreadable: Mapping[str, str], images: int) -> None:
    if unreadable:
        total = len(unreadable) + images
        screen.warn(
            f"{len(unreadable)} of {total} images cannot be read and count nowhere: {_some(list(unreadable))}; "
            f"the first: {next(iter(unreadable.values()))}"
        )


def _some(names: list[str] | tuple[str, ...]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more (--json names all)" if more > 0 else "")


@contextmanager
def _kept(resume: Path | None, progress: Progress, total: int) -> Iterator[None]:
    """Whatever ends the work early: say what was kept, and how to go on."""
    try:
        yield
    except (Mvit2Error, Interrupted):
        done = f"{len(progress.rows)} of {total} images were done"
        if progress.rows and resume is None:
            screen.warn(f"{done} and nothing of it is kept; with --resume FILE an evaluation can go on later.")
        elif progress.rows:
            screen.warn(f"{done} and are kept in {resume}; the same command goes on there.")
        raise
