"""What a person sees: steps with their seconds, warnings, tables. Silent where nobody watches."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from io import TextIOWrapper

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mvit2.bundle.manifest import Artifact, Manifest
from mvit2.bundle.measurements import Accuracy, MaskAccuracy, Quantisation
from mvit2.bundle.proofs import Proof
from mvit2.difference import MEASURES, Difference, Measure
from mvit2.tasks import CLASSIFY, SEGMENT, task_named

from .interrupt import raise_if_swallowed

__all__ = ["Screen", "screen"]

_NO_EDGE = 10_000  # columns of a file or a pipe: nothing is folded there
_ACCURACY_COLUMNS = {
    CLASSIFY.manifest: ("top-1 / float32 (95 %)", "top-5 / float32"),
    SEGMENT.manifest: ("mIoU / float32", "pixel accuracy / float32"),
}


class Screen:
    """Results go to stdout; progress, warnings and errors to stderr.

    Progress shows on a terminal only. Warnings show always, also with ``quiet``.
    """

    def __init__(self) -> None:
        self.configure(quiet=False, as_json=False)

    def configure(self, quiet: bool, as_json: bool) -> None:
        """Begin anew, on the stdout and stderr of now."""
        self.out, self.err = _console(stderr=False), _console(stderr=True)
        self.quiet, self.as_json = quiet, as_json
        self.warnings: list[str] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        if self.quiet or not self.err.is_terminal:
            yield
            raise_if_swallowed()
            return
        start = time.perf_counter()
        with self.err.status(escape(title)):
            yield
            raise_if_swallowed()
        self.err.print(f"[green]✓[/] {escape(title)} [dim]{time.perf_counter() - start:.1f} s[/]")

    @contextmanager
    def progress(self, title: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """A bar with the time left; what it gives is to be called with how many more are done."""
        if self.quiet or not self.err.is_terminal:
            yield lambda more: None
            raise_if_swallowed()
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        start = time.perf_counter()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.err, transient=True) as bar:
            task = bar.add_task(escape(title), total=total, completed=done)
            yield lambda more: bar.advance(task, more)
            raise_if_swallowed()
        self.err.print(f"[green]✓[/] {escape(title)} [dim]{time.perf_counter() - start:.1f} s[/]")

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self.err.print(f"[bold black on yellow] WARNING [/] {escape(message)}")

    def renamed(self, old: str, new: str) -> None:
        """An old word was typed, which works for one more release."""
        self.err.print(escape(f"{old} is now {new}; the old word goes with the next release."))

    def error(
        self, message: str, differences: Iterable[Difference] = (), more: Mapping[str, object] | None = None
    ) -> None:
        """``more``: what else machines are told."""
        with suppress(OSError):  # a full disk behind stdout may be the very error
            self.json({"error": message, "differences": [asdict(d) for d in differences], **(more or {})})
        self.err.print(f"[bold red]error:[/] {escape(message)}")

    def result(self, text: str) -> None:
        """A line for people: not with --quiet or --json."""
        if not self.quiet and not self.as_json:
            self.out.print(escape(text))

    def table(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        if self.quiet or self.as_json:
            return
        self.out.print(_table(title, columns, rows))

    def differences(self, differences: Iterable[Difference], *, failed: bool = False) -> None:
        """The parity table; where it is the reason of a failure it goes to stderr, and is never suppressed."""
        by_measure: dict[Measure, list[Difference]] = {}
        for difference in differences:
            by_measure.setdefault(difference.measure, []).append(difference)
        for measure, some in by_measure.items():
            absolute, relative, agreement = MEASURES[measure]
            columns = ("stage", absolute, relative, "accepted", agreement, "")
            self._judged("compared with the torch model", columns, map(_difference_row, some), failed)

    def proofs(self, proofs: Sequence[Proof]) -> None:
        """What accelerators said; where one of them failed it goes to stderr, and is never suppressed."""
        from mvit2.export.proof_table import COLUMNS, TITLE, proof_row, remarks

        self._judged(TITLE, COLUMNS, map(proof_row, proofs), failed=not all(proof.passed for proof in proofs))
        for line in (line for proof in proofs for line in remarks(proof)):
            self.result(line)

    def _judged(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], failed: bool) -> None:
        if failed:
            self.err.print(_table(title, columns, rows))
        else:
            self.table(title, columns, rows)

    def fidelity(self, manifest: Manifest) -> None:
        """What quantisation cost, and on which pictures that was measured."""
        rows = [_fidelity_row(a, a.quantisation) for a in manifest.artifacts if a.quantisation is not None]
        if rows:
            fidelity = next(a.quantisation for a in manifest.artifacts if a.quantisation is not None).fidelity
            task = task_named(manifest.task)
            columns = (
                "artifact",
                task.same,
                "SNR",
                "max |Δ p|",
                *_ACCURACY_COLUMNS[task.manifest],
                "XNNPACK",
            )
            self.table(f"compared with float32 on {fidelity.images} {fidelity.source}", columns, rows)

    def json(self, content: object) -> None:
        if self.as_json:
            self.out.out(json.dumps(content), highlight=False)


def _console(stderr: bool) -> Console:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where Δ, a label or a file's name has no encoding
    console = Console(soft_wrap=True, highlight=False, emoji=False, stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _NO_EDGE
    return console


def _table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def _difference_row(d: Difference) -> tuple[str, ...]:
    if not d.finite:
        return d.stage, "-", "NaN or Inf", f"{d.tolerance:.0e}", "-", "FAILED"
    verdict = "ok" if d.passed else "FAILED"
    return (
        d.stage,
        f"{d.max_absolute:.1e}",
        f"{d.max_relative:.1e}",
        f"{d.tolerance:.0e}",
        f"{d.top1_agreement:.0%}",
        verdict,
    )


def _fidelity_row(artifact: Artifact, quantisation: Quantisation) -> tuple[str, ...]:
    from mvit2.metrics.fidelity import confidence_interval

    f = quantisation.fidelity
    first = second = "-"
    if isinstance(f.accuracy, Accuracy) and isinstance(f.float_accuracy, Accuracy):
        low, high = confidence_interval(f.accuracy.top1, f.images)
        first = f"{f.accuracy.share:.1%} / {f.float_accuracy.share:.1%} ({low:.1%} to {high:.1%})"
        second = f"{f.accuracy.top5 / f.images:.1%} / {f.float_accuracy.top5 / f.images:.1%}"
    elif isinstance(f.accuracy, MaskAccuracy) and isinstance(f.float_accuracy, MaskAccuracy):
        first = f"{f.accuracy.share:.1%} / {f.float_accuracy.share:.1%}"
        second = f"{f.accuracy.pixel_accuracy:.1%} / {f.float_accuracy.pixel_accuracy:.1%}"
    figures = f"{f.agreement:.1%}", f"{f.snr_db:.1f} dB", f"{f.max_error:.2f}"
    return artifact.file.path, *figures, first, second, artifact.graph.in_xnnpack


screen = Screen()
