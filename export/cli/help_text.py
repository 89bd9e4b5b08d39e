"""What --help prints: plain text in sections, at the width of the terminal. No rich: it would double the time."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .command_table import CommandRow

__all__ = ["GENERAL", "command_help", "group_help"]

GENERAL = "General"
_OPTIONS = "Options"
_WIDEST, _NARROW = 100, 60  # columns
_LEFT = 28  # of the names; below _NARROW columns the explanations stand beneath them
_BOLD, _PLAIN = "\033[1m", "\033[0m"  # typer leaves them out where stdout is no terminal

Entry = tuple[str, str]


def group_help(description: str, commands: Iterable[CommandRow], options: Iterable[Any]) -> str:
    """Of ``mvit2``: the commands under their sections."""
    sections: dict[str, list[Entry]] = {}
    for row in commands:
        sections.setdefault(row.section, []).append((row.name, row.help))
    sections[_OPTIONS] = [_option_entry(option) for option in options if not option.hidden]
    after = "Run mvit2 COMMAND --help (or mvit2 help COMMAND) for options and examples."
    return _page("mvit2 COMMAND ...", description, sections, (), after)


def command_help(path: str, description: str, params: Sequence[Any], examples: Sequence[str]) -> str:
    """Of one command. ``params``: typer's, arguments and options; hidden ones are left out."""
    shown = [param for param in params if not getattr(param, "hidden", False)]
    arguments = [param for param in shown if param.param_type_name == "argument"]
    usage = " ".join([path, *(_usage(argument) for argument in arguments), "[OPTIONS]"])
    sections: dict[str, list[Entry]] = {"Arguments": [(_name(each), each.help or "") for each in arguments]}
    general: list[Entry] = []
    for option in (param for param in shown if param.param_type_name == "option"):
        panel = option.rich_help_panel or _OPTIONS
        (general if _is_general(option) else sections.setdefault(panel, [])).append(_option_entry(option))
    sections[GENERAL] = [*sections.get(GENERAL, []), *general]
    return _page(usage, description, sections, examples, "")


def _is_general(option: Any) -> bool:
    return option.rich_help_panel == GENERAL or "--help" in option.opts


def _usage(argument: Any) -> str:
    return _name(argument) if argument.required else f"[{_name(argument)}]"


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _option_entry(option: Any) -> Entry:
    flags = ", ".join(sorted([*option.opts, *option.secondary_opts], key=len))
    name = flags if option.is_flag or not option.metavar else f"{flags} {option.metavar}"
    default = option.default
    shown = option.show_default and not (default is None or default is False or default == "")
    return name, f"{option.help or ''}{f' [default: {default}]' if shown else ''}"


def _page(
    usage: str, description: str, sections: Mapping[str, Sequence[Entry]], examples: Sequence[str], after: str
) -> str:
    columns = max(30, min(shutil.get_terminal_size().columns, _WIDEST))
    lines = [f"{_BOLD}Usage:{_PLAIN} {usage}", "", *textwrap.wrap(description, columns)]
    for title, entries in sections.items():
        if entries:
            lines += ["", _title(title), *(line for entry in entries for line in _entry(entry, columns))]
    if examples:
        lines += ["", _title("Examples"), *(f"  {example}" for example in examples)]
    if after:
        lines += ["", *textwrap.wrap(after, columns)]
    return "\n".join(lines) + "\n"


def _title(text: str) -> str:
    return f"{_BOLD}{text}:{_PLAIN}"


def _entry(entry: Entry, columns: int) -> list[str]:
    name, text = entry
    left = 6 if columns < _NARROW else _LEFT
    wrapped = textwrap.wrap(text, columns - left, break_long_words=False, break_on_hyphens=False) or [""]
    if len(name) + 4 > left:
        return [f"  {name}", *(f"{'':{left}}{line}".rstrip() for line in wrapped)]
    first = f"  {name}".ljust(left) + wrapped[0]
    return [first.rstrip(), *(f"{'':{left}}{line}" for line in wrapped[1:])]
