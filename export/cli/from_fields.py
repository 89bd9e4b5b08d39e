"""A command's options made from the fields of a dataclass, each of which is declared once (export/option.py)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from typing import Annotated, Any

import typer

from mvit2.export.option import Option, Request, options_of

__all__ = ["Typed", "typer_option", "whole_number", "with_options"]

Typed = Mapping[str, object]
"""What was typed, by the field's name; None, or no word, where nothing was (export.option.request_of)."""

Command = Callable[..., None]


def with_options(request: type[Request], only: Collection[str] = ()) -> Callable[[Command], Command]:
    """Replace a command's first parameter, a ``Typed``, by the options of ``request``: ``only`` those, or all."""
    options = {name: each for name, each in options_of(request).items() if not only or name in only}

    def decorate(command: Command) -> Command:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

        @wraps(command)
        def run(**values: Any) -> None:
            typed = {name: values.pop(name) for name in options}
            command(typed, **values)

        parameters = [*(_parameter(name, each) for name, each in options.items()), *own]
        run.__dict__["__signature__"] = inspect.Signature(parameters)
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def typer_option(request: type[Request], name: str) -> Any:
    """The typer.Option of a field, for another command that takes the same option."""
    return _typer_option(options_of(request)[name])


def _typer_option(option: Option) -> Any:
    parser = whole_number if option.kind is int else None
    return typer.Option(*option.flags, metavar=option.metavar, help=option.help, parser=parser)


def _parameter(name: str, option: Option) -> inspect.Parameter:
    kind: Any = list[str] if option.kind is list else option.kind
    if option.default is None:
        kind = kind | None
    annotation: Any = Annotated[kind, _typer_option(option)]
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=option.default, annotation=annotation
    )


def whole_number(text: str) -> int:
    """Raises typer.BadParameter."""
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a whole number.") from None
