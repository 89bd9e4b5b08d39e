"""Proofs as rows of a table and as lines below it, the same after an export, a check and in ``mvit2 info``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mvit2.bundle.proofs import Proof, Verdict
from mvit2.runtime.accelerators.prove import Skipped

__all__ = ["COLUMNS", "TITLE", "not_run", "proof_row", "remarks"]

TITLE = "on accelerators, against the recorded answers"
COLUMNS = ("file", "place", "arithmetic", "operators there", "max error", "accepted", "", "compiled in")
_WORDS: dict[Verdict, str] = {"passed": "ok", "failed": "FAILED", "placement only": "placement only"}


def proof_row(proof: Proof) -> tuple[str, ...]:
    """A cell for each of COLUMNS."""
    answers, error, accepted = proof.answers, "-", "-"
    if answers is not None:
        error = f"{answers.max_relative:.1e}" if answers.finite else "NaN or Inf"
        accepted = f"{answers.tolerance:g}"
        if answers.finite and answers.top1_agreement < 1:
            error += f", {answers.top1_agreement:.0%} same"
    seconds = "-" if proof.compile_seconds is None else f"{proof.compile_seconds:.1f} s"
    place = f"{proof.accelerator}: {proof.chip}"
    return proof.file, place, proof.arithmetic, proof.placement, error, accepted, _WORDS[proof.verdict], seconds


def remarks(proof: Proof) -> Iterator[str]:
    """What else it holds, a line each."""
    about = f"{proof.file} on {proof.accelerator}: "
    if proof.failure:
        yield about + proof.failure
    yield from (about + finding for finding in proof.findings)
    if proof.refused:
        kept = ", ".join(f"{count} x {reason}" for reason, count in proof.refused.items())
        yield f"{about}on the CPU: {kept}"
    if proof.estimate:
        seconds, sram = proof.estimate.seconds, proof.estimate.sram_bytes
        yield f"{about}estimated {seconds * 1e3:.1f} ms, {sram / 1024:.0f} KiB of SRAM"


def not_run(skipped: Iterable[Skipped]) -> Iterator[str]:
    """A line for each place and reason, with the files that it is about."""
    files: dict[tuple[str, str], list[str]] = {}
    for one in skipped:
        if one.file is not None:
            files.setdefault((one.place, one.reason), []).append(one.file)
    return (f"not run on {place}: {', '.join(names)} ({reason})" for (place, reason), names in files.items())
