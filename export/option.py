"""An option declared once: a dataclass field that also says how it is typed on the command line.

The field has the name, the type and the default; its metadata, made by ``option``, the rest. The command line makes
its parameters from the fields (export/cli/options.py), Python's ``mvit2.export_bundle`` its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

__all__ = ["Option", "Request", "option", "options_of", "read_fields", "request_of", "typed_again"]

_KEY = "option"


class Request(Protocol):
    """A dataclass, some of whose fields are options."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


R = TypeVar("R", bound=Request)


@dataclass(frozen=True)
class Option:
    """How a field is typed.

    Attributes:
        kind: of what is typed: str, int, float, Path, bool for a flag, list for a word that may be given repeatedly.
        metavar: stands for the value in --help; None for a flag.
        help: one line.
        flags: what is typed, such as ("--format", "-f").
        default: of the command line; None where the field's default is no word that could be typed.
        turns_off: a flag that makes the field False, such as --no-report.
        parse: words, or a value that was parsed already -> the field's value; raises UsageError. None: as it is.
        panel: its heading in --help, such as "Input"; None: "Options".
        show: the field's value -> words that ``parse`` reads so; None: str, of each of several.
        recorded: whether what is made depends on it, so that it belongs to the command that makes it again.
    """

    kind: type
    metavar: str | None
    help: str
    flags: tuple[str, ...] = ()
    default: Any = None
    turns_off: bool = False
    parse: Callable[[Any], object] | None = None
    panel: str | None = None
    show: Callable[[Any], tuple[str, ...]] | None = None
    recorded: bool = True

    def read(self, value: object) -> object:
        """The field's value for what was typed, or given in Python: there a str stands for a Path, too."""
        if value is None:
            return None
        if self.parse is not None:
            return self.parse(value)
        return Path(value) if self.kind is Path and isinstance(value, str) else value

    def typed(self, name: str, value: Any) -> tuple[str, ...]:
        """What gives ``value`` to the field ``name``, word by word; a file or folder is called NAME."""
        flag = self.flags[0]
        if self.kind is bool:
            return (flag,)
        if self.kind is Path:
            return flag, name.upper()
        if self.show is not None:
            words = self.show(value)
        else:
            words = tuple(map(str, value)) if self.kind is list else (str(value),)
        return tuple(part for word in words for part in (flag, word))


def option(
    kind: type,
    metavar: str | None,
    help: str,
    *flags: str,
    parse: Callable[[Any], object] | None = None,
    panel: str | None = None,
    show: Callable[[Any], tuple[str, ...]] | None = None,
    recorded: bool = True,
) -> Mapping[str, Option]:
    """A field's metadata. Without ``flags`` it is --name-of-the-field; --no-name where the field is True by default."""
    return {_KEY: Option(kind, metavar, help, flags, parse=parse, panel=panel, show=show, recorded=recorded)}


def options_of(request: type[Request]) -> dict[str, Option]:
    """The options among the fields of ``request``, by the field's name, in their order."""
    return {field.name: _completed(field) for field in fields(request) if _KEY in field.metadata}


def _completed(field: Field[Any]) -> Option:
    said: Option = field.metadata[_KEY]
    assert field.default is not MISSING, f"the option {field.name} has no default"
    turns_off = field.default is True
    usual = f"--{'no-' * turns_off}{field.name.replace('_', '-')}"
    default = False if said.kind is bool else field.default if isinstance(field.default, said.kind) else None
    return replace(said, flags=said.flags or (usual,), default=default, turns_off=turns_off)


def read_fields(request: Request) -> None:
    """Let every option's field hold what it was given for: for ``__post_init__`` of a frozen dataclass."""
    for name, each in options_of(type(request)).items():
        object.__setattr__(request, name, each.read(getattr(request, name)))


def request_of(request: type[R], typed: Mapping[str, object]) -> R:
    """The request for what was typed, by the fields' names; what was not typed keeps its default."""
    options = options_of(request)
    given = {name: value for name, value in typed.items() if value not in (None, [])}
    return request(**{name: not value if options[name].turns_off else value for name, value in given.items()})


def typed_again(request: Request, always: Mapping[str, object]) -> tuple[str, ...]:
    """The options that what was made depends on, word by word: those with another value than their default.

    Args:
        always: fields that are typed whatever they are -> the value to type.
    """
    words: list[str] = []
    defaults = {field.name: field.default for field in fields(request)}
    for name, each in options_of(type(request)).items():
        value = always.get(name, getattr(request, name))
        if each.recorded and (name in always or value != each.read(defaults[name])):
            words += each.typed(name, value)
    return tuple("".join(letter if letter.isprintable() else "?" for letter in word) for word in words)
