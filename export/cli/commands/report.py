"""``mvit2 report``: options, what is measured for it, and where the result lies."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mvit2.errors import UsageError
from mvit2.export.cli.console import screen
from mvit2.export.cli.options import (
    Bundle,
    Ignore,
    Json,
    Opt,
    Processes,
    Quiet,
    ReduceLabels,
    Runs,
    Split,
    Synsets,
    ThreadList,
    parse_threads,
    reading_of,
)

if TYPE_CHECKING:
    from mvit2.export.report.gather import Timing
    from mvit2.export.report.task import Evaluated
    from mvit2.image.dataset import Reading

__all__ = ["report"]

Evaluation = Annotated[
    Path | None, Opt("--eval", metavar="FOLDER|CSV", help="Labelled images, or with masks: accuracy, worst cases.")
]
BenchFile = Annotated[Path | None, Opt("--bench", metavar="FILE", help="What mvit2 bench --json printed.")]
Sensitivity = Annotated[Path | None, Opt(metavar="FILE", help="What mvit2 sensitivity --json printed.")]
_OUTPUT = "Write the page into this file, and no model card; default: report.html and README.md in the bundle."
Output = Annotated[Path | None, Opt("--output", "-o", metavar="FILE", help=_OUTPUT)]
Pictures = Annotated[Path | None, Opt(metavar="FOLDER", help="Examples, 12 at most; default: bundled photographs.")]


def report(
    bundle: Bundle,
    evaluation: Evaluation = None,
    synsets: Synsets = None,
    split: Split = None,
    ignore: Ignore = None,
    reduce_labels: ReduceLabels = False,
    bench: BenchFile = None,
    sensitivity: Sensitivity = None,
    pictures: Pictures = None,
    output: Output = None,
    threads: ThreadList = "1",
    runs: Runs = 20,
    processes: Processes = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    counts = parse_threads(threads)
    about = {"--synsets": synsets, "--split": split, "--ignore": ignore, "--processes": processes}
    about |= {"--reduce-labels": reduce_labels or None}
    for option, value in about.items():
        if value is not None and evaluation is None:
            raise UsageError(f"{option} is about labelled images: add --eval FOLDER.")
    from mvit2.bundle.manifest import read_manifest
    from mvit2.export.early_checks import refuse_output_file
    from mvit2.export.report.from_files import read_bench, read_sensitivity
    from mvit2.export.report.gather import example_pictures, gather, time_artifacts
    from mvit2.export.report.html import PAGE, write_report
    from mvit2.export.report.model_card import CARD
    from mvit2.runtime.timing import Bounds

    manifest, bounds, examples = read_manifest(bundle), Bounds(runs), example_pictures(pictures)
    refuse_output_file(bundle / PAGE if output is None else output)
    losses = read_sensitivity(sensitivity) if sensitivity else ()
    timing = read_bench(bench, manifest) if bench else None
    evaluated = (
        _evaluated(bundle, evaluation, reading_of(synsets, split, ignore, reduce_labels), processes)
        if evaluation
        else None
    )
    if timing is None:
        timing = time_artifacts(bundle, counts, bounds, screen)
    _warn_of_noise(timing)
    with screen.step("report"):
        found = gather(bundle, examples, evaluated=evaluated, timing=timing, sensitivity=losses)
        written = write_report(bundle, found, output)
    if output is None and bundle / CARD not in written:
        screen.warn(f"{bundle / CARD} was not written by mvit2 and is left alone; rename it to get a model card.")
    for file in written:
        screen.result(f"written: {file}")
    screen.result(f"next: open {written[0]} in a browser   or   mvit2 check {bundle}")
    content = asdict(found)
    del content["images"]
    screen.json({"bundle": str(bundle), "written": [str(f) for f in written], **content, "warnings": screen.warnings})


def _evaluated(bundle: Path, source: Path, reading: Reading, processes: int | None) -> Evaluated:
    from mvit2.export.report.task import Evaluated
    from mvit2.runtime.evaluate.plan import plan
    from mvit2.runtime.evaluate.results_file import open_progress
    from mvit2.runtime.evaluate.run import evaluate
    from mvit2.runtime.tasks.picture import File

    work = plan(bundle, source, (), reading)
    for file, reason in work.skipped:
        screen.warn(f"{file} was left out: {reason}")
    total = len(work.pictures)
    title = f"evaluating {len(work.artifacts)} artifact(s) on {total} images"
    with (
        open_progress(None, work.header, work.metric.answer) as progress,
        screen.progress(title, total) as advance,
    ):
        found = evaluate(work, progress, processes, total, advance)
    if found.unreadable:
        screen.warn(f"{len(found.unreadable)} of {total} images cannot be read and count nowhere.")
    masks = [truth for truth in work.truth if isinstance(truth, File)]
    files = {work.name(path): path for path in (*work.pictures, *(mask.path for mask in masks))}
    reduced = any(mask.reduced for mask in masks)
    return Evaluated(f"labelled images of {source.resolve().name}", found, files, reduced)


def _warn_of_noise(timing: Timing | None) -> None:
    if timing is not None and timing.noisy:
        screen.warn(f"the machine was noisy, and the report says so: {'; '.join(timing.noisy)}.")
