"""``mvit2 check``: does this bundle still compute here what it computed when it was made?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mvit2.errors import CheckFailed, Mvit2Error, OutputError, UsageError
from mvit2.export.cli.console import screen
from mvit2.export.cli.options import Artifacts, Bundle, Compiled, Json, On, Quiet, Record, Strict, Threads

if TYPE_CHECKING:
    from mvit2.runtime.accelerators.prove import Proven
    from mvit2.runtime.accelerators.table import Place

__all__ = ["check"]


def check(
    bundle: Bundle,
    on: On = None,
    artifact: Artifacts = None,
    record: Record = False,
    compiled: Compiled = None,
    threads: Threads = 1,
    strict: Strict = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    from mvit2.runtime import check_bundle

    wanted = _wanted(on or (), artifact or (), record, compiled)
    report = check_bundle(bundle, threads)
    for file, reason in report.skipped:
        screen.warn(f"{file} was not checked: {reason}")
    for file, reason in report.unverified:
        screen.warn(f"{file} is not verified: {reason}")
    for assumption in report.assumptions:
        screen.warn(assumption)
    if not report.differences:
        raise Mvit2Error("nothing was checked: no engine is installed: pip install 'mvit2[ort]' or 'mvit2[litert]'.")
    if report.other_pixels:
        raise CheckFailed(
            f"this machine's preprocessing makes other pixels of {', '.join(report.other_pixels)} than "
            f"those recorded in {bundle}/golden; its scores will differ. Report Pillow's and NumPy's versions.",
            report.differences,
        )
    if not report.passed:
        raise CheckFailed(
            f"{bundle} no longer reproduces its golden outputs; do not ship it. Export it again, "
            "or report this machine and its engine's version.",
            report.differences,
        )
    if strict and report.unverified:
        files = ", ".join(file for file, _ in report.unverified)
        raise CheckFailed(f"--strict: {files} was never compared with torch; leave it out, or leave --strict out.")
    screen.differences(report.differences, against="the recorded answers")
    content = asdict(report)
    if wanted is not None:
        proven = _prove(bundle, wanted)
        content |= {
            "proofs": [{**asdict(proof), "verdict": proof.verdict} for proof in proven.proofs],
            "not_proven": [asdict(one) for one in proven.skipped],
        }
        if proven.failed:
            failed = ", ".join(dict.fromkeys(f"{proof.file} on {proof.accelerator}" for proof in proven.failed))
            screen.error(f"not proven: {failed}; do not ship these files for these places.", more=content)
            raise typer.Exit(1)
    screen.json({"passed": True, **content})
    screen.result(f"{bundle} is intact and computes what it did when made. next: mvit2 predict {bundle} PHOTO.jpg")


# ---- on accelerators ----


@dataclass(frozen=True)
class _Wanted:
    """What ``--on`` and the options beside it ask for."""

    places: tuple[Place, ...]
    files: Sequence[str]
    record: bool
    compiled: Path | None


def _wanted(on: Sequence[str], files: Sequence[str], record: bool, compiled: Path | None) -> _Wanted | None:
    """None without ``--on``. What is impossible is refused before anything runs.

    Raises UsageError: an unknown place. Mvit2Error: a place that was named lacks what it needs.
    """
    if not on:
        for option, given in (("--record", record), ("--compiled", compiled), ("--artifact", files)):
            if given:
                raise UsageError(f"{option} is about accelerators: add --on PLACE, such as --on all.")
        return None
    from mvit2.runtime.accelerators.prove import require_places
    from mvit2.runtime.accelerators.table import parse_places

    places = parse_places("--on", on)
    require_places(places)
    try:
        if compiled is not None:
            compiled.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"--compiled {compiled} cannot be written ({error.strerror}); choose another folder."
        ) from None
    return _Wanted(places, files, record, compiled)


def _prove(bundle: Path, wanted: _Wanted) -> Proven:
    """Run, show, and record where that was asked for. Raises Mvit2Error: nothing was run."""
    from mvit2.export.proof_table import not_run
    from mvit2.runtime.accelerators.prove import prove, record_proofs

    proven = prove(bundle, wanted.places, files=wanted.files, compiled=wanted.compiled, step=screen.step)
    if not proven.proofs:
        reasons = "; ".join(dict.fromkeys(f"{one.place}: {one.reason}" for one in proven.skipped))
        raise Mvit2Error(f"nothing was proven ({reasons[:600]}).")
    if wanted.record:
        record_proofs(bundle, proven.proofs)
    screen.proofs(proven.proofs)
    for one in proven.skipped:
        if one.file is None:
            screen.warn(f"{one.place} was skipped: {one.reason}")
    for line in not_run(proven.skipped):
        screen.result(line)
    return proven
