"""What a person or a log sees: steps with their seconds, warnings, tables."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from io import TextIOWrapper
from threading import Timer
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape

from mvit2.visible import visible

from .interrupt import raise_if_swallowed

if TYPE_CHECKING:
    from mvit2.bundle.manifest import Manifest
    from mvit2.bundle.proofs import Proof
    from mvit2.difference import Difference

__all__ = ["Screen", "screen"]

_NO_EDGE = 10_000  # columns of a file or a pipe: nothing is folded there
_LOG_SECONDS = 15.0  # after which a log says that a step is still running


class Screen:
    """Results go to stdout; progress, warnings and errors to stderr.

    Progress moves on a terminal; in a log it is a line a step, with --json or --quiet none. Warnings show always.
    """

    def __init__(self) -> None:
        self.configure(quiet=False, as_json=False)

    def configure(self, quiet: bool, as_json: bool) -> None:
        """Begin anew, on the stdout and stderr of the time when something is printed first."""
        self._out: Console | None = None
        self._err: Console | None = None
        self.quiet, self.as_json = quiet, as_json
        self.warnings: list[str] = []

    @property
    def out(self) -> Console:
        self._out = self._out or _console(stderr=False)
        return self._out

    @property
    def err(self) -> Console:
        self._err = self._err or _console(stderr=True)
        return self._err

    @property
    def logs(self) -> bool:
        """Whether stderr is a log: a line for each step, instead of what moves."""
        return not (self.quiet or self.as_json or self.err.is_terminal)

    @contextmanager
    def step(self, title: str, minor: bool = False) -> Iterator[None]:
        """``minor``: usually over at once; a log tells of it only where it lasts."""
        start = time.perf_counter()
        with self._running(title):
            yield
            raise_if_swallowed()
        if not (minor and self.logs and time.perf_counter() - start < _LOG_SECONDS):
            self._done(title, start)

    @contextmanager
    def progress(self, title: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """A bar with the time left, in a log a line now and then; what it gives is told how many more are done."""
        start = time.perf_counter()
        if self.logs:
            yield self._logged_progress(title, total, done)
            raise_if_swallowed()
            if time.perf_counter() - start < _LOG_SECONDS:
                return
        elif self.quiet or not self.err.is_terminal:
            yield lambda more: None
            raise_if_swallowed()
        else:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns, console=self.err, transient=True) as bar:
                task = bar.add_task(_shown(title), total=total, completed=done)
                yield lambda more: bar.advance(task, more)
                raise_if_swallowed()
        self._done(title, start)

    def _running(self, title: str) -> AbstractContextManager[object]:
        """While it lasts: a spinner; in a log a line, once it has lasted long."""
        if self.logs:
            return _announced(lambda: self.err.print(f"- {_shown(title)} ..."))
        if self.quiet or not self.err.is_terminal:
            return nullcontext()
        return self.err.status(_shown(title))

    def _done(self, title: str, start: float) -> None:
        seconds = time.perf_counter() - start
        if self.logs:
            self.err.print(f"- {_shown(title)} ({seconds:.1f} s)")
        elif not self.quiet and self.err.is_terminal:
            self.err.print(f"[green]✓[/] {_shown(title)} [dim]{seconds:.1f} s[/]")

    def _logged_progress(self, title: str, total: int, done: int) -> Callable[[int], None]:
        """A line now and then."""
        said = time.perf_counter()

        def advance(more: int) -> None:
            nonlocal done, said
            done += more
            if done < total and time.perf_counter() - said >= _LOG_SECONDS:
                said = time.perf_counter()
                self.err.print(f"- {_shown(title)}: {done} of {total}")

        return advance

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        self.err.print(f"[bold black on yellow] WARNING [/] {_shown(message)}")

    def renamed(self, old: str, new: str) -> None:
        """An old word was typed, which works for one more release."""
        self.err.print(_shown(f"{old} is now {new}; the old word goes with the next release."))

    def error(
        self, message: str, differences: Iterable[Difference] = (), more: Mapping[str, object] | None = None
    ) -> None:
        """``more``: what else machines are told."""
        with suppress(OSError):  # a full disk behind stdout may be the very error
            self.json({"error": message, "differences": [asdict(d) for d in differences], **(more or {})})
        self.err.print(f"[bold red]error:[/] {_shown(message)}")

    def complain(self, message: str) -> None:
        """One of several errors, each of which has its line; the command goes on, and exits 1 in the end."""
        self.err.print(f"[bold red]error:[/] {_shown(' '.join(message.split()))}")

    def result(self, text: str) -> None:
        """A line for people: not with --quiet or --json."""
        if not self.quiet and not self.as_json:
            self.out.print(_shown(text))

    def table(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        if self.quiet or self.as_json:
            return
        _print_table(self.out, title, columns, rows)

    def differences(self, differences: Iterable[Difference], *, failed: bool = False, against: str) -> None:
        """The parity table; where it is the reason of a failure it goes to stderr, and is never suppressed.

        ``against``: what the stages were compared with, such as "the torch model".
        """
        from .verdict_tables import difference_tables

        for columns, rows in difference_tables(differences):
            self._judged(f"compared with {against}", columns, rows, failed)

    def proofs(self, proofs: Sequence[Proof]) -> None:
        """What accelerators said; where one of them failed it goes to stderr, and is never suppressed."""
        from mvit2.export.proof_table import COLUMNS, TITLE, proof_row, remarks

        self._judged(TITLE, COLUMNS, map(proof_row, proofs), failed=not all(proof.passed for proof in proofs))
        for line in (line for proof in proofs for line in remarks(proof)):
            self.result(line)

    def _judged(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], failed: bool) -> None:
        if failed:
            _print_table(self.err, title, columns, rows)
        else:
            self.table(title, columns, rows)

    def fidelity(self, manifest: Manifest) -> None:
        """What quantisation cost, and on which images that was measured."""
        from .verdict_tables import fidelity_table

        found = fidelity_table(manifest)
        if found is not None:
            self.table(*found)

    def json(self, content: object) -> None:
        if self.as_json:
            self.out.out(json.dumps(content), highlight=False)


def _shown(text: str) -> str:
    """Text as it may go to a terminal, whoever wrote it: markup and control characters are shown, not obeyed."""
    return escape(visible(text))


def _console(stderr: bool) -> Console:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where Δ, a label or a file's name has no encoding
    console = Console(soft_wrap=True, highlight=False, emoji=False, stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _NO_EDGE
    return console


@contextmanager
def _announced(say: Callable[[], None]) -> Iterator[None]:
    """``say`` once, if the block lasts long: minutes of silence look like a hang."""
    timer = Timer(_LOG_SECONDS, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


# ---- tables ----


def _print_table(console: Console, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Aligned columns where they fit; else each row as lines of ``column: cell``, so that no word is cut."""
    head, body = list(columns), [[visible(" ".join(cell.split())) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(head, *body, strict=True)]
    fits = sum(widths) + 2 * (len(widths) - 1) <= console.width
    lines = [_aligned(cells, widths) for cells in (head, *body)] if fits else _stacked(head, body)
    console.print(f"[bold]{_shown(title)}[/]")
    lines = lines if any(head) else lines[fits:]
    for number, line in enumerate(lines):
        bold = fits and number == 0 and console.is_terminal
        console.print(f"[bold]{_shown(line)}[/]" if bold else _shown(line))


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _stacked(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    lines = []
    for first, *others in body:
        lines.append(first)
        lines += [
            f"  {name}: {cell}" if name else f"  {cell}" for name, cell in zip(head[1:], others, strict=True) if cell
        ]
    return lines


screen = Screen()
