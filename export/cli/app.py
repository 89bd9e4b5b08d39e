"""The two applications, ``mvit2`` and ``mvit2-export``, on which the commands register themselves.

A command imports heavy libraries itself, after its arguments were read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import typer
from typer.core import TyperGroup

from .console import screen
from .options import Version

__all__ = ["app", "export_app", "renamed"]

_HELP = "MobileViTV2 checkpoints to verified ONNX and TFLite bundles for Android and iOS."
_ORDER = ("export", "check", "sensitivity", "info", "audit", "bench", "devices", "app", "evaluate", "predict", "report")


class _InOrder(TyperGroup):
    """``--help`` lists the commands in the order of ``_ORDER``, whichever was imported first; others come last."""

    def list_commands(self, ctx: Any) -> list[str]:
        rank = {name: index for index, name in enumerate(_ORDER)}
        return sorted(super().list_commands(ctx), key=lambda name: (rank.get(name, len(rank)), name))


app = typer.Typer(cls=_InOrder, help=_HELP, no_args_is_help=True, add_completion=False)
export_app = typer.Typer(add_completion=False)


@app.callback()
def _root(version: Version = False) -> None:
    pass


def renamed(old: str, new: str, command: Callable[..., None]) -> None:
    """Let ``mvit2 old`` run ``command`` for one more release; a line on stderr says the new word."""

    @wraps(command)
    def run(**values: Any) -> None:
        screen.renamed(f"mvit2 {old}", f"mvit2 {new}")
        command(**values)

    app.command(old, hidden=True)(run)
