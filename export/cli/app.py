"""The two applications, ``mvit2`` and ``mvit2-export``; a command is imported when it is typed.

A command imports heavy libraries itself, after its arguments were read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from mvit2.errors import UsageError, did_you_mean

from .boundary import guarded
from .command_table import COMMANDS, RENAMED, CommandRow
from .console import screen
from .help_text import command_help, group_help
from .version_option import Version

__all__ = ["application", "export_application"]

_HELP = "MobileViT checkpoints to verified ONNX and TFLite bundles for Android, iOS and the web."
_NAMES = {"help_option_names": ["-h", "--help"]}


class _Command(TyperCommand):
    """A command whose --help is ours."""

    examples: tuple[str, ...] = ()

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(command_help(ctx.command_path, self.help or "", self.get_params(ctx), self.examples))


class _Commands(TyperGroup):
    """``mvit2``: knows its commands from the table alone, and imports the one that is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:
        if cmd_name in RENAMED:
            return _renamed(cmd_name)
        return _built(COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        if not args and not ctx.resilient_parsing:
            typer.echo(self.get_help(ctx))
            raise typer.Exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """``mvit2 help [COMMAND]`` is ``mvit2 [COMMAND] --help``."""
        if args[:1] == ["help"]:
            if len(args) == 1:
                typer.echo(self.get_help(ctx))
                raise typer.Exit()
            args = [args[1], "--help"]
        known = {*COMMANDS, *RENAMED}
        if not ctx.resilient_parsing and not args[0].startswith("-") and args[0] not in known:
            raise UsageError(f"No such command {args[0]!r}.{did_you_mean(args[0], COMMANDS)} See mvit2 --help.")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(group_help(_HELP, COMMANDS.values(), self.get_params(ctx)))


def _built(row: CommandRow, change: Callable[[Callable[..., None]], Callable[..., None]] | None = None) -> TyperCommand:
    module = import_module(f"mvit2.export.cli.commands.{row.function}")
    function = getattr(module, row.function)
    one = typer.Typer(add_completion=False, rich_markup_mode=None)
    function = guarded(function) if row.runs_models else function
    one.command(row.name, cls=_Command, help=row.help, context_settings=_NAMES)(
        change(function) if change else function
    )
    command = get_command(one)
    assert isinstance(command, _Command)
    command.examples = row.examples
    return command


def _renamed(old: str) -> TyperCommand:
    """The command of the new word; a line on stderr says it."""
    new = RENAMED[old]

    def told(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**values: Any) -> None:
            screen.renamed(f"mvit2 {old}", f"mvit2 {new}")
            command(**values)

        return run

    return _built(COMMANDS[new], told)


def _root(version: Version = False) -> None:
    pass


def application() -> Callable[..., Any]:
    """``mvit2``."""
    app = typer.Typer(cls=_Commands, help=_HELP, rich_markup_mode=None, context_settings=_NAMES)
    app.callback()(_root)
    return get_command(app)


def export_application() -> Callable[..., Any]:
    """``mvit2-export``, which is ``mvit2 export``."""
    return _built(COMMANDS["export"])
