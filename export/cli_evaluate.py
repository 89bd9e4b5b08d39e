"""``mvit2 evaluate``: the command, its tables, and the pictures of the worst disagreements."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mvit2.errors import Mvit2Error, OutputError, UsageError

from .cli import app
from .console import screen
from .interrupt import Interrupted
from .options import Artifacts, Bundle, Json, Labelled, Number, Opt, Quiet, Synsets

if TYPE_CHECKING:
    from mvit2.runtime.evaluate import Plan
    from mvit2.runtime.figures import ArtifactFigures, Disagreement, Evaluation, Named
    from mvit2.runtime.progress import Progress

__all__ = ["evaluate", "worst_name"]

_CLASSES_SHOWN, _NAMES_SHOWN = 10, 5
_LONGEST_WORD = 24  # of a label in a file's name: four of them stay far below the 255 bytes of a name
_PROCESSES = "Processes side by side, each with all models; default: one for each core (CPU of the cluster)."
_ENGINE = "Where the work is done: local, or ray, a cluster: --address, RAY_ADDRESS, else one of its own."
_RESUME = "Keep what is done in this file; the same command with the same file goes on there."

Resume = Annotated[Path | None, Opt(metavar="FILE", help=_RESUME)]
Processes = Annotated[int | None, Number(metavar="N", help=_PROCESSES)]
EngineName = Annotated[str, Opt("--engine", metavar="ENGINE", help=_ENGINE)]
Address = Annotated[str | None, Opt(metavar="ADDRESS", help="Of the Ray cluster: HOST:PORT of its head, or auto.")]
SaveWorst = Annotated[
    Path | None, Opt(metavar="FOLDER", help="Copy the pictures on which int8 is furthest from float32 there.")
]
Worst = Annotated[int, Number(metavar="N", help="How many of these.")]


@app.command(help="Measure every artifact of a bundle on labelled pictures: accuracy, agreement, worst cases.")
def evaluate(
    bundle: Bundle,
    source: Labelled,
    artifact: Artifacts = None,
    synsets: Synsets = None,
    resume: Resume = None,
    processes: Processes = None,
    engine: EngineName = "local",
    address: Address = None,
    save_worst: SaveWorst = None,
    worst: Worst = 20,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    from mvit2.runtime.evaluate import Engine
    from mvit2.runtime.evaluate import evaluate as run
    from mvit2.runtime.evaluate import plan as make_plan
    from mvit2.runtime.progress import open_progress

    where = Engine(engine, address)
    if save_worst is not None:
        _check_folder(save_worst)
    plan = make_plan(bundle, source, artifact or (), synsets)
    _warn_of(plan, save_worst)
    with open_progress(resume, plan.header) as progress, _kept(resume, progress, len(plan.pictures)):
        title = f"evaluating {len(plan.artifacts)} artifact(s) on {len(plan.pictures)} pictures"
        with screen.progress(title, len(plan.pictures), len(progress.rows)) as advance:
            found = run(plan, progress, processes, worst, advance, where)
    _warn_of_unreadable(found.unreadable, found.images)
    _show(found)
    if save_worst is not None:
        _save_worst(save_worst, found.worst, dict(zip(plan.names, plan.pictures, strict=True)))
        screen.result(f"copied: {save_worst} ({len(found.worst)} pictures, the worst first)")
    if resume is not None:
        screen.result(f"what was found of each picture: {resume}")
    screen.result(f"next: mvit2 predict {bundle} PICTURE shows what each artifact says of one")
    empty, skipped = list(plan.empty), dict(plan.skipped)
    content = {"bundle": str(bundle), "source": str(source), "empty_classes": empty, "skipped": skipped}
    screen.json({**content, **asdict(found), "warnings": screen.warnings})


# ---- what goes wrong ----


def _check_folder(folder: Path) -> None:
    """Refuse early, before an hour of work. An empty folder may be there."""
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise OutputError(f"--save-worst {folder} exists already; accepted: a new folder, or an empty one; remove it.")
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
    if plan.empty:
        screen.warn(f"{len(plan.empty)} class folder(s) without a picture: {_some(plan.empty)}")


def _warn_of_unreadable(unreadable: Mapping[str, str], images: int) -> None:
    if unreadable:
        total = len(unreadable) + images
        screen.warn(
            f"{len(unreadable)} of {total} pictures cannot be read and count nowhere: {_some(list(unreadable))}; "
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
        done = f"{len(progress.rows)} of {total} pictures were done"
        if progress.rows and resume is None:
            screen.warn(f"{done} and nothing of it is kept; with --resume FILE an evaluation can go on later.")
        elif progress.rows:
            screen.warn(f"{done} and are kept in {resume}; the same command goes on there.")
        raise


# ---- the tables ----


def _show(found: Evaluation) -> None:
    names = [figures.artifact for figures in found.artifacts]
    columns = ("artifact", "top-1 (95 %)", "top-5 (95 %)", "same top-1", "SNR", "max |Δ log p|")
    rows = [_artifact_row(figures, found.images) for figures in found.artifacts]
    beside = f"; the last three columns: against {found.reference}" if found.reference and len(names) > 1 else ""
    screen.table(f"accuracy on {found.images} pictures{beside}", columns, rows)
    if len(names) > 2:
        cells = [[f"{found.agreement[a][b]:.1%}" if a != b else "" for b in names] for a in names]
        screen.table("same top-1", ("", *names), ((name, *row) for name, row in zip(names, cells, strict=True)))
    classes = sorted(found.classes, key=lambda c: (sum(c.top1.values()) / c.images, c.index))[:_CLASSES_SHOWN]
    screen.table(
        f"top-1 of the worst {len(classes)} of {len(found.classes)} classes",
        ("class", "pictures", *names, "mostly taken for"),
        (
            (c.label, str(c.images), *(f"{hits / c.images:.1%}" for hits in c.top1.values()), c.mistaken_for or "-")
            for c in classes
        ),
    )
    share = len(found.all_wrong) / found.images
    screen.result(f"{len(found.all_wrong)} picture(s) ({share:.1%}) every artifact gets wrong; --json names them")


def _artifact_row(figures: ArtifactFigures, images: int) -> tuple[str, ...]:
    first, fifth = (
        f"{hits / images:.1%} ({100 * low:.1f} to {100 * high:.1f})"
        for hits, (low, high) in ((figures.top1, figures.top1_interval), (figures.top5, figures.top5_interval))
    )
    if figures.agreement is None:
        return figures.artifact, first, fifth, "-", "-", "-"
    return (
        figures.artifact,
        first,
        fifth,
        f"{figures.agreement:.1%}",
        f"{figures.snr_db:.1f} dB",
        f"{figures.max_drift:.1e}",
    )


# ---- the worst disagreements as pictures ----


def _save_worst(folder: Path, worst: tuple[Disagreement, ...], pictures: Mapping[str, Path]) -> None:
    from .output import under_construction

    with under_construction(folder) as building:
        for place, disagreement in enumerate(worst, 1):
            shutil.copyfile(pictures[disagreement.picture], building / worst_name(place, disagreement))


def worst_name(place: int, found: Disagreement) -> str:
    """Such as 01_cat_as_dog__float32-cat-0.91__int8-dog-0.55.jpg: ASCII, without anything that a file system minds."""
    true = _plain(found.label) or "class"
    answers = (_answer("float32", found.reference), _answer(found.precision, found.answer))
    taken_for = _plain(found.answer.label) or f"class-{found.answer.index}"
    return f"{place:02}_{true}_as_{taken_for}__{'__'.join(answers)}{Path(found.picture).suffix.lower()}"


def _answer(precision: str, named: Named) -> str:
    return f"{precision}-{_plain(named.label) or f'class-{named.index}'}-{named.score:.2f}"


def _plain(label: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "-", ascii_only)[:_LONGEST_WORD].strip("-")
