"""``mvit2 info``: tables for people and one object for machines, as export/describe.py makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mvit2.export.cli.console import screen
from mvit2.export.cli.options import Json

__all__ = ["info"]


def info(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE|FILE", help="A bundle's folder, a .onnx or a .tflite file.")],
    json: Json = False,
) -> None:
    screen.configure(False, json)
    from mvit2.export.describe import describe_bundle, describe_model

    tables, content = describe_model(path) if path.is_file() else describe_bundle(path)
    for title, columns, rows in tables:
        screen.table(title, columns, rows)
    screen.json(content)
    screen.result(f"next: mvit2 check {path}" if path.is_dir() else "next: mvit2 info BUNDLE")
