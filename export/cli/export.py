"""``mvit2 export``, which is ``mvit2-export``: options, and what is said of the bundle. export/pipeline.py makes it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from mvit2.export.option import request_of
from mvit2.export.request import ExportRequest
from mvit2.units import human_bytes

from .app import app, export_app
from .console import screen
from .options import Json, Quiet, Typed, Version, with_options

__all__ = ["export"]


@export_app.command(help="Export a checkpoint to a bundle: model files, labels, golden vectors, manifest.")
@app.command("export", help="Export a checkpoint to a bundle (the same as mvit2-export).")
@with_options(ExportRequest)
def export(typed: Typed, quiet: Quiet = False, json: Json = False, version: Version = False) -> None:
    screen.configure(quiet, json)
    request = request_of(ExportRequest, typed)
    from mvit2.export.pipeline import export as run_export

    result = run_export(request, screen)
    bundle, manifest = _shown(result.bundle), result.manifest
    screen.differences(manifest.parity)
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
