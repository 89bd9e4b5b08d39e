"""``mvit2 compare``: two bundles or model files side by side: size, accuracy, agreement, latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvit2.bundle.files import bytes_of_model
from mvit2.errors import UsageError
from mvit2.export.cli.console import screen
from mvit2.export.cli.options import Json, Opt, Processes, Quiet, Runs, Synsets, Threads
from mvit2.units import human_bytes

if TYPE_CHECKING:
    from mvit2.bundle.manifest import Artifact
    from mvit2.image.dataset import Reading
    from mvit2.runtime.bench.run import Trial
    from mvit2.runtime.evaluate.paired import Paired

__all__ = ["compare"]

_SIDE = "A bundle, of which the file to ship is taken (as by mvit2 app), or one of its model files."
First = Annotated[Path, typer.Argument(metavar="A", help=_SIDE)]
Second = Annotated[Path, typer.Argument(metavar="B", help="The same; what it gains and loses is against A.")]
_SOURCE = "Labelled images, as for mvit2 evaluate; without them only size and latency are compared."
Source = Annotated[Path | None, typer.Argument(metavar="FOLDER|CSV", help=_SOURCE)]
NoBench = Annotated[bool, Opt("--no-bench", help="Leave latency out.")]
_CLASSES_SHOWN = 10


@dataclass(frozen=True)
class _Side:
    """One model file; ``bundle`` and ``artifact`` are None for a file that lies in no bundle."""

    letter: str
    file: Path
    bundle: Path | None
    artifact: Artifact | None


def compare(
    a: First,
    b: Second,
    source: Source = None,
    synsets: Synsets = None,
    processes: Processes = None,
    threads: Threads = 1,
    runs: Runs = 50,
    no_bench: NoBench = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    from mvit2.image.dataset import Reading

    sides = (_side("A", a), _side("B", b))
    if sides[0].file.resolve() == sides[1].file.resolve():
        raise UsageError(f"A and B are the same file, {sides[0].file}; name two.")
    content: dict[str, Any] = {s.letter: {"file": str(s.file), "bytes": bytes_of_model(s.file)} for s in sides}
    _show_sizes(sides)
    if source is not None:
        content["accuracy"] = _accuracy(sides, source, Reading(synsets), processes)
    if not no_bench:
        content["latency"] = _latency(sides, threads, runs)
    screen.json({**content, "warnings": screen.warnings})


def _side(letter: str, path: Path) -> _Side:
    """Raises BundleError: no such bundle or file."""
    from mvit2.bundle.manifest import MANIFEST, read_manifest
    from mvit2.export.apps.choose import choose_artifacts
    from mvit2.runtime.engines.table import ENGINES

    if (path.parent / MANIFEST).is_file() and not (path / MANIFEST).is_file():
        artifact = read_manifest(path.parent).artifact(path.name)
        return _Side(letter, path.parent / artifact.file.path, path.parent, artifact)
    if path.is_file():
        if path.suffix not in ENGINES:
            raise UsageError(f"{path} is neither a bundle nor a model file; accepted files: {', '.join(ENGINES)}.")
        return _Side(letter, path, None, None)
    (artifact,) = choose_artifacts(path, read_manifest(path), (), None)
    return _Side(letter, path / artifact.file.path, path, artifact)


def _show_sizes(sides: Sequence[_Side]) -> None:
    rows = []
    for side in sides:
        precision = side.artifact.precision if side.artifact else "-"
        rows.append((side.letter, str(side.file), precision, human_bytes(bytes_of_model(side.file))))
    screen.table("compared", ("", "file", "precision", "size"), rows)


# ---- on labelled images ----


def _accuracy(sides: Sequence[_Side], source: Path, reading: Reading, processes: int | None) -> dict[str, Any]:
    from mvit2.runtime.evaluate.paired import paired, require_alike
    from mvit2.runtime.evaluate.plan import plan
    from mvit2.runtime.evaluate.results_file import Progress
    from mvit2.runtime.evaluate.run import evaluate
    from mvit2.runtime.tasks.classify.metrics import Evaluation

    foreign = next((side.file for side in sides if side.bundle is None), None)
    if foreign is not None:
        raise UsageError(f"{foreign} lies in no bundle, so nobody knows its preprocessing; name a bundle's file.")
    held = [(side.bundle, side.artifact.file.path) for side in sides if side.bundle and side.artifact]
    plans = [plan(bundle, source, (artifact,), reading) for bundle, artifact in held]
    require_alike(*plans)
    progress, found = [], []
    for side, work in zip(sides, plans, strict=True):
        total = len(work.pictures)
        kept = Progress()
        with screen.progress(f"evaluating {side.letter} on {total} images", total) as advance:
            found.append(evaluate(work, kept, processes, 0, advance))
        if found[-1].unreadable:
            unread = len(found[-1].unreadable)
            screen.warn(f"{side.letter}: {unread} of {total} images cannot be read and count nowhere.")
        progress.append(kept)
    first, second = found
    if isinstance(first, Evaluation) and isinstance(second, Evaluation):
        pairs = paired(plans[0], *progress)
        _show_pairs(pairs)
        return {**asdict(pairs), "verdict": pairs.verdict}
    rows = [
        (side.letter, f"{one.artifacts[0].mean_iou:.1%}", f"{one.artifacts[0].pixel_accuracy or 0:.1%}")
        for side, one in zip(sides, found, strict=True)
        if not isinstance(one, Evaluation)
    ]
    screen.table(f"{first.images} images with masks", ("", "mIoU", "pixel accuracy"), rows)
    return {side.letter: asdict(one.artifacts[0]) for side, one in zip(sides, found, strict=True)}


def _show_pairs(pairs: Paired) -> None:
    share = [f"{hits / pairs.images:.1%}" for hits in (pairs.first, pairs.second)]
    low, high = (100 * edge for edge in pairs.interval)
    difference = f"{100 * pairs.difference:+.1f} points ({low:+.1f} to {high:+.1f})"
    columns = ("A", "B", "B - A (95 %, paired)", "only B right", "only A right", "top-1 agreement")
    row = (*share, difference, str(pairs.gained), str(pairs.lost), f"{pairs.agreement:.1%}")
    screen.table(f"top-1 on {pairs.images} images: {pairs.verdict}", columns, [row])
    changed = pairs.classes[:_CLASSES_SHOWN]
    rows = [(c.label, str(c.images), str(c.first), str(c.second), f"{c.second - c.first:+d}") for c in changed]
    if rows:
        title = f"classes that changed, {len(rows)} of {len(pairs.classes)}"
        screen.table(title, ("class", "images", "A right", "B right", "change"), rows)


# ---- latency ----


def _latency(sides: Sequence[_Side], threads: int, runs: int) -> dict[str, Any]:
    trial = _trial(sides, threads, runs)
    medians = [result.inference.median for result in trial.results]
    rows = [
        (side.letter, f"{r.inference.median:.2f}", f"{r.inference.p90:.2f}", f"{r.inference.median / medians[0]:.2f}")
        for side, r in zip(sides, trial.results, strict=True)
    ]
    screen.table(f"one inference, milliseconds, {threads} thread(s)", ("", "median", "p90", "of A"), rows)
    if trial.noise.reasons:
        screen.warn(f"too noisy to believe: {' and '.join(trial.noise.reasons)}. Close other programs.")
    return {side.letter: asdict(result) for side, result in zip(sides, trial.results, strict=True)}


def _trial(sides: Sequence[_Side], threads: int, runs: int) -> Trial:
    from mvit2.runtime.bench.models import find_subjects, usable
    from mvit2.runtime.bench.run import bench
    from mvit2.runtime.timing import Bounds

    bounds = Bounds(runs)
    found = find_subjects((), [side.file for side in sides])
    subjects, missing, _ = usable(found)
    for name, reason in missing.items():
        raise UsageError(f"{name} cannot be timed here: {reason}; --no-bench leaves latency out.")
    with screen.step(f"timing A and B side by side, {threads} thread(s)"):
        return bench(subjects, threads, bounds)
