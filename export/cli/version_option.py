"""``--version``, of both applications: apart from the other options, which take longer to import."""

from __future__ import annotations

from typing import Annotated

import typer

from mvit2.versions import VERSION

from .help_text import GENERAL

__all__ = ["Version"]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mvit2 {VERSION}")
        raise typer.Exit()


Version = Annotated[
    bool,
    typer.Option(
        "--version",
        "-V",
        callback=_print_version,
        is_eager=True,
        help="Print the version and exit.",
        rich_help_panel=GENERAL,
    ),
]
