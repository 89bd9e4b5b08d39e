"""What accelerators said of a bundle's files, as its manifest keeps it: where operators run, how near the answers are.

A proof is made by ``mvit2 check --on ... --record`` or ``mvit2-export --prove ...`` (runtime/accelerators/).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import Final, Literal

from mvit2.difference import Difference
from mvit2.errors import BundleError

__all__ = ["PLACES", "Arithmetic", "Estimate", "Proof", "Verdict", "merged_proofs"]

# Where files can be proven, and whether one of several chips can be named: as runtime/accelerators/table.py, which is
# too heavy for --help.
PLACES: Final[Mapping[str, bool]] = MappingProxyType(
    {"litert-gpu": False, "qnn-htp": True, "ethos-u": True, "fp16": False, "opencv": False}
)
Arithmetic = Literal["float32", "float16", "int8"]
Verdict = Literal["passed", "failed", "placement only"]
_MAX_OPERATORS = 10**6
_MAX_SECONDS = 10**6
_MAX_BYTES = 2**40
_MAX_TEXT = 300
_MAX_ENTRIES = 64
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Estimate:
    """What a compiler expects of its chip; nothing was timed."""

    seconds: float  # of one inference
    sram_bytes: int

    def __post_init__(self) -> None:
        if not (0 <= self.seconds <= _MAX_SECONDS and 0 <= self.sram_bytes <= _MAX_BYTES):
            raise BundleError(
                f"an estimate is {self.seconds} s and {self.sram_bytes} bytes of SRAM, accepted: 0 or more"
            )


@dataclass(frozen=True)
class Proof:
    """One model file at one place.

    Attributes:
        file: the model file.
        accelerator: the place, a row of runtime/accelerators/table.py.
        chip: what it was, such as "SwiftShader" or "Snapdragon 8 Gen 2 (simulator)".
        arithmetic: in which the accelerator computed what is float in the file.
        operators: of the file, as the accelerator's compiler counts them; None where it did not get so far.
        placed: how many of them run on the accelerator; None where it does not say.
        refused: reason -> how many operators stay on the CPU for it.
        answers: compared with the recorded golden outputs; None where nothing was run.
        failure: why the file does not run there, or should not whatever it answers; then there are no ``answers``.
        findings: what else is worth knowing, a sentence each.
        compile_seconds, inference_seconds: measured on the machine that made the proof. A simulator's inference says
            nothing of the chip's, and is None.
        estimate: the compiler's own.
        versions: library -> version.
        date: the UTC day, "2026-11-27".

    Raises BundleError for what no run can have said.
    """

    file: str
    accelerator: str
    chip: str
    arithmetic: Arithmetic
    date: str
    operators: int | None = None
    placed: int | None = None
    refused: Mapping[str, int] = field(default_factory=dict)
    answers: Difference | None = None
    failure: str | None = None
    findings: tuple[str, ...] = ()
    compile_seconds: float | None = None
    inference_seconds: float | None = None
    estimate: Estimate | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_texts()
        self._check_counts()
        for seconds in (self.compile_seconds, self.inference_seconds):
            if seconds is not None and not 0 <= seconds <= _MAX_SECONDS:
                raise self._impossible(f"takes {seconds} s", f"0 to {_MAX_SECONDS}")
        if self.answers is not None and self.failure is not None:
            raise self._impossible("has answers and a failure", "one of them")

    def _check_texts(self) -> None:
        if not _NAME.fullmatch(self.accelerator):
            raise BundleError(f"a proof names the accelerator {self.accelerator[:80]!r}, accepted: like 'litert-gpu'")
        if not _DAY.fullmatch(self.date) or not _is_day(self.date):
            raise self._impossible(f"is of the day {self.date[:20]!r}", "like '2026-11-27'")
        listed = (self.refused, self.findings, self.versions)
        if max(map(len, listed)) > _MAX_ENTRIES:
            raise self._impossible(f"lists {max(map(len, listed))} entries", f"at most {_MAX_ENTRIES}")
        texts = (self.file, self.chip, self.failure or "-", *self.refused, *self.findings)
        for text in (*texts, *self.versions, *self.versions.values()):
            if not (text.isprintable() and 0 < len(text) <= _MAX_TEXT):
                raise self._impossible(f"holds the text {text[:40]!r}", f"1 to {_MAX_TEXT} printable characters")

    def _check_counts(self) -> None:
        operators, left = self.operators, sum(self.refused.values())
        if operators is None:
            possible = self.placed is None and not self.refused
        else:
            on_it = 0 if self.placed is None else self.placed
            counts = (on_it, *self.refused.values())
            possible = operators <= _MAX_OPERATORS and min(counts) >= 0 and on_it + left <= operators
        if not possible:
            found = f"has {self.placed} of {operators} operators on the accelerator and {left} refused"
            raise self._impossible(found, "no more than there are")

    def _impossible(self, found: str, accepted: str) -> BundleError:
        return BundleError(f"the proof of {self.file[:80]!r} on {self.accelerator} {found}, accepted: {accepted}")

    @property
    def verdict(self) -> Verdict:
        if self.failure is not None or (self.answers is not None and not self.answers.passed):
            return "failed"
        return "placement only" if self.answers is None else "passed"

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the file there."""
        return self.verdict != "failed"

    @property
    def fully_placed(self) -> bool:
        return self.operators is not None and self.placed == self.operators

    @property
    def placement(self) -> str:
        """In words, such as "554 of 554"."""
        if self.operators is None:
            return "not opened"
        return f"{'some' if self.placed is None else self.placed} of {self.operators}"

    @property
    def reason(self) -> str:
        """Why it failed, in one line; "" where it did not."""
        if self.failure is not None:
            return self.failure
        if self.answers is None or self.answers.passed:
            return ""
        if not self.answers.finite:
            return "it returned NaN or Inf"
        return (
            f"its answers differ by {self.answers.max_relative:.2g} (accepted: {self.answers.tolerance:g}) and have "
            f"{self.answers.top1_agreement:.0%} top-1 agreement"
        )

    @property
    def place(self) -> tuple[str, str, str]:
        """What a newer proof replaces."""
        return self.file, self.accelerator, self.chip


def merged_proofs(old: Iterable[Proof], new: Iterable[Proof]) -> tuple[Proof, ...]:
    """``old`` ones with ``new`` ones in their places; those of places seen for the first time come last."""
    by_place = {proof.place: proof for proof in old}
    by_place.update((proof.place, proof) for proof in new)
    return tuple(by_place.values())


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
