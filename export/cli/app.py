"""The two applications, ``mvit2`` and ``mvit2-export``, on which the commands register themselves.

A command imports heavy libraries itself, after its arguments were read.
"""

from __future__ import annotations

import typer

from .options import Version

__all__ = ["app", "export_app"]

_HELP = "MobileViTV2 checkpoints to verified ONNX and TFLite bundles for Android and iOS."
app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False)
export_app = typer.Typer(add_completion=False)


@app.callback()
def _root(version: Version = False) -> None:
    pass
