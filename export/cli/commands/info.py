"""``mvit2 info``: tables for people and one object for machines, as export/describe.py makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mvit2.export.cli.console import screen
from mvit2.export.cli.options import Json

__all__ = ["info"]


def info(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A bundle, a .onnx or .tflite file, or a checkpoint.")],
    json: Json = False,
) -> None:
    screen.configure(False, json)
    from mvit2.bundle.kinds import is_checkpoint
    from mvit2.export.describe import describe_bundle, describe_checkpoint, describe_model

    checkpoint = is_checkpoint(path)
    describe = describe_checkpoint if checkpoint else describe_model if path.is_file() else describe_bundle
    tables, content = describe(path)
    for title, columns, rows in tables:
        screen.table(title, columns, rows)
    screen.json(content)
    for warning in content.get("warnings", ()) if checkpoint else ():
        screen.warn(warning)
    following = f"mvit2-export --weights {path}" if checkpoint else f"mvit2 check {path}"
    if checkpoint or path.is_dir():
        screen.result(f"next: {following}")
