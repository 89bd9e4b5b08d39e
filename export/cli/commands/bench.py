"""``mvit2 bench``: options, tables, exit code. What is measured, and how, is in runtime/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvit2.errors import CheckFailed, UsageError
from mvit2.export.cli.console import screen
from mvit2.export.cli.options import Artifacts, Json, Number, Opt, Quiet, Runs, ThreadList
from mvit2.scratch import scratch_folder
from mvit2.units import human_bytes

if TYPE_CHECKING:
    from mvit2.runtime.bench.baseline import Change
    from mvit2.runtime.bench.models import Subject
    from mvit2.runtime.bench.noise import Noise
    from mvit2.runtime.bench.profile import BlockTime, Profile
    from mvit2.runtime.bench.run import Measured, Trial
    from mvit2.runtime.timing import Bounds
from mvit2.export.cli.options import parse_threads

__all__ = ["bench"]

Bundles = Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="Folders made by mvit2-export.")]
Against = Annotated[list[Path] | None, Opt(metavar="FILE", help="Bench this .onnx or .tflite model, too; repeatable.")]
Warmup = Annotated[int, Number(metavar="N", help="Turns that do not count, each time the models are opened (6 times).")]
Duration = Annotated[float | None, Opt(metavar="SECONDS", help="Instead of --runs: for so long, 10 turns at least.")]
Strict = Annotated[bool, Opt("--strict", help="Exit 1 when the machine was too noisy.")]
Baseline = Annotated[Path | None, Opt(metavar="FILE", help="Compare with what --json printed earlier.")]
MaxRegression = Annotated[float, Opt(metavar="PERCENT", help="Exit 1 when a ratio to float32 grew by more.")]
Absolute = Annotated[bool, Opt("--absolute", help="Let medians count as well: only on the baseline's machine.")]
Peak = Annotated[bool, Opt("--peak", help="Say how near each comes to a plain matrix product of its engine.")]
ProfileOf = Annotated[str | None, Opt("--profile", metavar="FILE", help="Only this model: its time by block.")]


def bench(
    bundles: Bundles,
    against: Against = None,
    artifact: Artifacts = None,
    threads: ThreadList = "1",
    runs: Runs = 50,
    warmup: Warmup = 5,
    duration: Duration = None,
    strict: Strict = False,
    baseline: Baseline = None,
    max_regression: MaxRegression = 10.0,
    absolute: Absolute = False,
    peak: Peak = False,
    profile: ProfileOf = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    counts = parse_threads(threads)
    if profile is not None and baseline is not None:
        raise UsageError("--profile looks at one model only; leave out --baseline.")
    from mvit2.runtime.bench.baseline import changes, read_baseline, require_common, slower
    from mvit2.runtime.bench.models import find_subjects
    from mvit2.runtime.timing import Bounds

    bounds = Bounds(runs, warmup, duration)
    slower((), max_regression, absolute)  # refuses an impossible percent before the work
    before = read_baseline(baseline) if baseline else ()
    subjects = find_subjects(bundles, against or (), artifact or ())
    if profile is not None:
        _profile(profile, subjects, counts, runs)
        return
    if baseline:
        require_common(before, [(subject.name, count) for subject in subjects for count in counts])
    with scratch_folder() as scratch:
        trials = _trials(subjects, counts, bounds, scratch if peak else None)
    results = [result for trial in trials for result in trial.results]
    _show(results)
    compared = changes(before, results, absolute) if baseline else ()
    _show_changes(compared)
    worse = slower(compared, max_regression, absolute)
    noisy = _noisy(trials)
    failure = f"the machine was too noisy: {noisy}. Close other programs." if noisy and strict else None
    if worse:
        failure = f"slower than {baseline} by more than {max_regression:g} %: {'; '.join(worse)}."
    _finish(trials, bounds, compared, failure)
    again = f"mvit2 bench {' '.join(map(str, bundles))}"
    screen.result(f"next: {again} --json > before.json, and later {again} --baseline before.json")


def _trials(subjects: Sequence[Subject], counts: Sequence[int], bounds: Bounds, products: Path | None) -> list[Trial]:
    """A trial for each number of threads, of all models that can run here; says which cannot.

    ``products``: a folder for matrix products that run along, or None.
    """
    from mvit2.runtime.bench.models import usable, with_products
    from mvit2.runtime.bench.run import bench as measure
    from mvit2.runtime.machine import usable_cores

    def say(noise: Noise) -> None:
        if screen.err.is_terminal:
            screen.err.print(f"noisy: {' and '.join(noise.reasons)}; once more")

    subjects, missing, open_inputs = usable(subjects)
    for name, reason in missing.items():
        screen.warn(f"{name} was left out: {reason}")
    for name, inputs in open_inputs.items():
        screen.warn(f"{name}: open dimensions of {', '.join(inputs)} became 1.")
    if products is not None:
        subjects = with_products(subjects, products)
    trials = []
    for count in counts:
        if count > usable_cores():
            screen.warn(f"--threads {count} is more than the {usable_cores()} cores here: expect no gain.")
        with screen.step(f"{len(subjects)} models side by side, {count} thread(s)"):
            trials.append(measure(subjects, count, bounds, say))
    return trials


def _noisy(trials: Sequence[Trial]) -> str:
    """Which trials not to believe, and why; warns of them. Empty on a quiet machine."""
    noisy = [t for t in trials if t.noise.reasons]
    text = "; ".join(f"with {t.threads} thread(s) {' and '.join(t.noise.reasons)}" for t in noisy)
    if noisy:
        screen.warn(f"too noisy to believe, also after {noisy[0].tries} tries: {text}. Close other programs.")
    return text


def _finish(trials: Sequence[Trial], bounds: Bounds, compared: Sequence[Change], failure: str | None) -> None:
    """Print the object of --json, which holds a failure and all figures; then raise CheckFailed for a failure."""
    from mvit2.runtime.bench.run import machine

    content: dict[str, Any] = {
        "machine": asdict(machine()),
        "bounds": asdict(bounds),
        "trials": [asdict(trial) for trial in trials],
        "changes": [asdict(change) for change in compared],
        "warnings": screen.warnings,
    }
    if failure is None:
        screen.json(content)
        return
    screen.json({"error": failure, **content})
    screen.as_json = False  # its one object is out
    raise CheckFailed(failure)


def _show(results: Sequence[Measured]) -> None:
    columns = (
        *("model", "threads", "min", "median", "p90", "p99", "std", "ratio"),
        *("images/s", "peak memory", "load", "first"),
    )
    screen.table("one inference, milliseconds; ratio to float32 of the same engine", columns, map(_row, results))
    whole = [m for m in results if m.preprocessing and m.postprocessing and m.end_to_end]
    if whole:
        steps = ("model", "threads", "preprocessing", "inference", "postprocessing", "end to end", "p99")
        screen.table("a photograph end to end, medians in milliseconds", steps, map(_whole_row, whole))
    limited = [m for m in results if m.of_peak is not None]
    if limited:
        title = "1e9 multiply-accumulates a second, against a plain matrix product in these turns"
        rates = [(m.model, str(m.threads), f"{m.gmac_per_s:.0f}", f"{m.of_peak:.0%}") for m in limited]
        screen.table(title, ("model", "threads", "GMAC/s", "of the peak"), rates)


def _row(m: Measured) -> tuple[str, ...]:
    t, memory = m.inference, m.alone.peak_bytes
    times = (f"{ms:.2f}" for ms in (t.min, t.median, t.p90, t.p99, t.std))
    ratio = "-" if m.ratio is None else f"{m.ratio:.2f}"
    alone = (f"{ms:.1f}" for ms in (m.alone.load_ms, m.alone.first_ms))
    return (
        *(m.model, str(m.threads), *times, ratio, f"{m.images_per_second:.1f}"),
        *("unknown" if memory is None else human_bytes(memory), *alone),
    )


def _whole_row(m: Measured) -> tuple[str, ...]:
    steps = (m.preprocessing, m.inference, m.postprocessing, m.end_to_end)
    tail = f"{m.end_to_end.p99:.2f}" if m.end_to_end else "-"
    return m.model, str(m.threads), *(f"{step.median:.2f}" if step else "-" for step in steps), tail


def _show_changes(found: Sequence[Change]) -> None:
    if found:
        rows = [
            (c.model, str(c.threads), "-" if c.ratio is None else f"{c.ratio - 1:+.1%}", f"{c.median - 1:+.1%}")
            for c in found
        ]
        screen.table("since the baseline", ("model", "threads", "ratio to float32", "median"), rows)


def _profile(wanted: str, subjects: Sequence[Subject], threads: Sequence[int], runs: int) -> None:
    from mvit2.runtime.bench.models import chosen
    from mvit2.runtime.bench.profile import profile

    profiles = [profile(chosen(wanted, subjects), count, runs) for count in threads]
    for found in profiles:
        _show_profile(found)
    screen.result("next: the same with another --threads, or without --profile")
    screen.json({"profiles": [asdict(found) for found in profiles], "warnings": screen.warnings})


def _show_profile(found: Profile) -> None:
    title = (
        f"{found.model}, {found.threads} thread(s): {found.whole_ms:.2f} ms, its blocks one by one {found.ms:.2f} ms"
    )
    columns = ("block", "ms", "share", "GMAC/s", "of the peak", "slowest operators, ms")
    screen.table(title, columns, (_block_row(block, found.peak_gmac_per_s) for block in found.blocks))
    if found.peak_gmac_per_s is None:
        screen.warn("the peak of ONNX Runtime is unknown without the package onnx: pip install 'mvit2[export]'.")
    else:
        screen.result(f"the peak: {found.peak_gmac_per_s:.0f} GMAC/s in a plain matrix product of the same engine")


def _block_row(b: BlockTime, peak: float | None) -> tuple[str, ...]:
    slowest = ", ".join(f"{kind} {ms:.3f}" for kind, ms in list(b.operators.items())[:4]) or "-"
    rate = "-" if b.gmac_per_s is None else f"{b.gmac_per_s:.1f}"
    share = "-" if b.gmac_per_s is None or peak is None else f"{b.gmac_per_s / peak:.0%}"
    return b.block, f"{b.ms:.3f}", f"{b.share:.1%}", rate, share, slowest
