"""Whether an ONNX file keeps tensors in other files, read off its bytes without the package onnx."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

__all__ = ["external_tensor"]

# onnx.proto: of each message the fields that lead to tensors, and what they hold.
_FIELDS: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "model": {7: "graph", 20: "training", 25: "function"},
        "training": {1: "graph", 2: "graph"},
        "graph": {1: "node", 5: "tensor", 15: "sparse"},
        "function": {7: "node", 11: "attribute"},
        "node": {5: "attribute"},
        "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
        "sparse": {1: "tensor", 2: "tensor"},
    }
)
_KEY = b"location"  # of the entry in external_data that names the other file; nothing is read without one
_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14  # of a tensor
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def external_tensor(model: Path) -> str | None:
    """The name of a tensor whose values lie outside the file; None where there is none.

    Raises ValueError: it may have one, and is no protobuf. OSError.
    """
    content = model.read_bytes()
    if _KEY not in content:  # a millisecond, where the walk takes fifty
        return None
    waiting = [("model", memoryview(content))]
    while waiting:
        kind, message = waiting.pop()
        if kind == "tensor":
            name = _name_if_external(message)
            if name is not None:
                return name
            continue
        inner = _FIELDS[kind]
        waiting += [
            (inner[field], value)
            for field, value in _fields(message)
            if field in inner and isinstance(value, memoryview)
        ]
    return None


def _name_if_external(tensor: memoryview) -> str | None:
    name, external = "", False
    for field, value in _fields(tensor):
        if field == _NAME and isinstance(value, memoryview):
            name = bytes(value).decode("utf-8", "replace")
        external = external or field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value == 1)
    return name if external else None


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each; values of a length are views, the others integers (those of 4 and 8 bytes: 0)."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind, value = key & 7, 0
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if kind == _BYTES:
            size, at = _varint(message, at)
        if size is None or at + size > len(message):
            raise ValueError("no protobuf, or one that was cut off")
        yield key >> 3, message[at : at + size] if kind == _BYTES else 0
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for count in range(10):
        if at + count >= len(message):
            raise ValueError("no protobuf, or one that was cut off")
        byte = message[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, at + count + 1
    raise ValueError("no protobuf: a number of more than ten bytes")
