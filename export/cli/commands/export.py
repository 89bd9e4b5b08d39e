"""``mvit2 export``, which is ``mvit2-export``: options, and what is said of the bundle. export/pipeline.py makes it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from mvit2.export.cli.console import screen
from mvit2.export.cli.options import Json, Quiet, Typed, with_options
from mvit2.export.cli.version_option import Version
from mvit2.export.option import request_of
from mvit2.export.request import ExportRequest
from mvit2.units import human_bytes

__all__ = ["export"]


@with_options(ExportRequest)
def export(typed: Typed, quiet: Quiet = False, json: Json = False, version: Version = False) -> None:
    screen.configure(quiet, json)
    request = request_of(ExportRequest, typed)
    from mvit2.export.pipeline import export as run_export

    result = run_export(request, screen)
    bundle, manifest = _shown(result.bundle), result.manifest
    screen.differences(manifest.parity, against="the torch model")
    screen.fidelity(manifest)
    if manifest.proofs:
        screen.proofs(manifest.proofs)
    rows = [(f"{bundle}/{a.file.path}", human_bytes(a.file.bytes)) for a in manifest.artifacts]
    rows.append((f"{bundle}/ labels, golden vectors, manifest", human_bytes(sum(f.bytes for f in manifest.files))))
    rows += [(f"{bundle}/{page.name}", human_bytes(page.stat().st_size)) for page in result.bundle.glob("report.html")]
    screen.table("written", ("file", "size"), rows)
    for warning in screen.warnings[:]:
        screen.result(f"remember: {warning}")
    screen.result(f"next: mvit2 predict {bundle} PHOTO.jpg   or   mvit2 check {bundle}")
    screen.json({"bundle": str(result.bundle), "warnings": screen.warnings, "manifest": asdict(manifest)})


def _shown(path: Path) -> Path:
    """Relative to the current folder where that is shorter."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
