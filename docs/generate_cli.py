"""Write docs/cli.md, the reference of the command line, from the real options: make cli.md

``python docs/generate_cli.py`` prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mvit2.export.cli.app import application

_INTRODUCTION = """\
# Command line

Every command with its arguments and options, in the order of `mvit2 --help`. This page is generated (`make cli.md`).
`mvit2-export` is the same as `mvit2 export`. Exit codes: 0 done, 1 a check failed or the work could not be done, 2
wrong usage.
"""


def reference() -> str:
    """The page, as Markdown."""
    group: Any = application()
    context = group.make_context("mvit2", [], resilient_parsing=True)
    commands = [group.get_command(context, name) for name in group.list_commands(context)]
    links = [f"- [{one.name}](#mvit2-{one.name}): {_cell(_summary(one))}" for one in commands]
    pages = [_command(one, context) for one in commands]
    return "\n".join([_INTRODUCTION, *links, "", *pages])


def _command(command: Any, parent: Any) -> str:
    context = type(parent)(command, info_name=command.name, parent=parent)
    usage = " ".join(["mvit2", command.name, *command.collect_usage_pieces(context)])
    lines = [f"## mvit2 {command.name}", "", _text(command.help), "", "```", usage, "```", ""]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.get_params(context) if each.param_type_name == "option"]
    if arguments:
        lines += ["| argument | |", "|---|---|", *_rows(arguments, context), ""]
    for panel, some in _by_panel(options).items():
        lines += [f"| {panel.lower()} | | default |", "|---|---|---|", *_rows(some, context), ""]
    lines += ["Examples:", "", "```", *command.examples, "```", ""]
    return "\n".join(lines)


def _by_panel(options: Iterable[Any]) -> dict[str, list[Any]]:
    panels: dict[str, list[Any]] = {}
    for each in options:
        if not each.hidden:
            panels.setdefault(getattr(each, "rich_help_panel", None) or "option", []).append(each)
    return panels


def _rows(parameters: Iterable[Any], context: Any) -> Iterator[str]:
    for each in parameters:
        if each.param_type_name == "argument":
            yield f"| `{_cell(each.metavar or each.name.upper())}` | {_cell(each.help)} |"
            continue
        names = ", ".join(sorted([*each.opts, *each.secondary_opts], key=len))
        value = "" if each.is_flag else f" {_cell(each.metavar or each.type.name.upper())}"
        yield f"| `{names}{value}` | {_cell(each.help)} | {_default(each)} |"


def _default(option: Any) -> str:
    """As a cell; nothing for a flag, or where the help says it."""
    if option.required:
        return "required"
    value = option.default
    return "" if value in (None, (), []) or option.is_flag or callable(value) else f"`{value}`"


def _summary(command: Any) -> str:
    return _text(command.help).split("\n")[0]


def _text(help: str | None) -> str:
    """Without the mark-up of the terminal."""
    return (help or "").replace("\b", "").strip()


def _cell(text: str | None) -> str:
    return " ".join(_text(text).split()).replace("|", "\\|") if (text or "").strip() else ""


if __name__ == "__main__":
    print(reference(), end="")
