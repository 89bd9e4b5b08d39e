"""Untrusted JSON into frozen dataclasses: every field present, of its type, and nothing else."""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Literal

__all__ = ["decode"]

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def decode(kind: Any, value: Any, where: str) -> Any:
    """JSON ``value`` as ``kind``, strictly: a wrong type, a missing or an unknown field is a ValueError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_dataclass(kind):
        return _decode_dataclass(kind, value, where)
    if origin is tuple:
        _expect(isinstance(value, list), value, where, "a list")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        _expect(len(kinds) == len(value), value, where, f"{len(kinds)} values")
        return tuple(decode(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if isinstance(kind, typing.TypeVar):
        return decode(_of_its_fields(kind.__constraints__, value), value, where)
    if origin in (types.UnionType, typing.Union):
        present = [k for k in arguments if k is not type(None)]
        none = value is None and len(present) < len(arguments)
        return None if none else decode(_of_its_fields(present, value), value, where)
    if origin is Literal:
        _expect(value in arguments, value, where, " or ".join(map(repr, arguments)))
        return value
    if origin is Mapping:
        _expect(isinstance(value, dict), value, where, "an object")
        name, content = arguments
        return {decode(name, k, where): decode(content, v, f"{where}[{k[:80]!r}]") for k, v in value.items()}
    if kind is float:
        finite = type(value) in (int, float) and abs(value) <= sys.float_info.max
        _expect(finite, value, where, "a finite number")
        return float(value)
    _expect(type(value) is kind, value, where, kind.__name__)
    _expect(kind is not str or not _LONE_SURROGATE.search(value), value, where, "text that UTF-8 can write")
    return value


def _of_its_fields(kinds: Sequence[Any], value: Any) -> Any:
    """The dataclass whose fields an object has; else the first kind, which then says what is wrong with it."""
    names = value.keys() if isinstance(value, dict) else set()
    return next((k for k in kinds if is_dataclass(k) and names == {f.name for f in fields(k)}), kinds[0])


def _decode_dataclass(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), value, where, "an object")
    hints = _hints(kind)
    names = [f.name for f in fields(kind)]
    wrong = sorted(set(names) ^ set(value))
    if wrong:
        raise ValueError(f"{where}: missing or unknown {str(wrong)[:80]}, expected exactly {', '.join(names)}")
    return kind(**{name: decode(hints[name], value[name], f"{where}.{name}") for name in names})


@cache  # looking them up costs a hundred times what checking a value does
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _expect(condition: bool, value: object, where: str, accepted: str) -> None:
    if not condition:
        raise ValueError(f"{where} is {str(value)[:80]!r}, expected {accepted}")
