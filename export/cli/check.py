"""``mvit2 check``: does this bundle still compute here what it computed when it was made?"""

from __future__ import annotations

from dataclasses import asdict

from mvit2.errors import CheckFailed, Mvit2Error

from .app import app
from .console import screen
from .options import Bundle, Json, Quiet, Strict, Threads

__all__ = ["check"]


@app.command(
    help="Check a bundle on this machine: hashes, preprocessing, and its models against their recorded answers."
)
def check(
    bundle: Bundle,
    threads: Threads = None,
    strict: Strict = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    from mvit2.runtime import check_bundle

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
            f"{bundle} computes something else than when it was made; do not ship it. Export it again, "
            "or report this machine and its engine's version.",
            report.differences,
        )
    if strict and report.unverified:
        files = ", ".join(file for file, _ in report.unverified)
        raise CheckFailed(f"--strict: {files} was never compared with torch; leave it out, or leave --strict out.")
    screen.json({"passed": True, **asdict(report)})
    screen.differences(report.differences)
    screen.result(f"{bundle} is intact and computes what it did when made. next: mvit2 predict {bundle} PHOTO.jpg")
