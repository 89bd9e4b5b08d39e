"""Things that are nearly right: bytes, texts and JSON, changed at random."""

from __future__ import annotations

import json
import random
from typing import Any

__all__ = ["EVIL", "changed_bytes", "changed_json", "odd_text", "odd_value"]

EVIL = (
    "\x1b[31m",
    "\x9b2J",
    "\x07",
    "\u202e",
    "\n",
    "\r",
    "\0",
    "\u2028",
    "../",
    "ä",
    "🐧",
    " ",
    "%s",
    "[red]",
    "\ufeff",
)
_NUMBERS = (0, -1, 1, 2**31, 2**63, 10**12, 10**400, 0.5, -0.0, 1e-300, 1e300, float("inf"), float("nan"))


def odd_text(draw: random.Random) -> str:
    words = [draw.choice((*EVIL, "cat", "0", "x" * draw.randrange(300))) for _ in range(draw.randrange(5))]
    return "".join(words)


def odd_value(draw: random.Random) -> Any:
    kinds = (None, True, draw.choice(_NUMBERS), odd_text(draw), [], {}, [odd_text(draw)], {odd_text(draw): 1})
    return draw.choice(kinds)


def changed_bytes(draw: random.Random, content: bytes) -> bytes:
    """Bits flipped, a part cut out, doubled, overwritten or moved, or the end missing."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        if not data:
            break
        at, size = draw.randrange(len(data)), draw.choice((1, 2, 4, 8, 64))
        kind = draw.randrange(6)
        if kind == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[at : at + size]
        elif kind == 2:
            data[at:at] = data[at : at + size]
        elif kind == 3:
            data[at : at + size] = draw.choice((b"\xff", b"\0", b"\x7f")) * size
        elif kind == 4:
            data[at : at + size] = draw.randbytes(size)
        else:
            del data[at:]
    return bytes(data)


def changed_json(draw: random.Random, text: str) -> str:
    """A value replaced, removed or added somewhere; sometimes text that is no JSON any more."""
    if draw.random() < 0.2:
        return changed_bytes(draw, text.encode()).decode("utf-8", "replace")
    content = json.loads(text)
    for _ in range(draw.choice((1, 1, 2, 4))):
        content = _changed(draw, content)
    return json.dumps(content, ensure_ascii=draw.random() < 0.5)


def _changed(draw: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        kind = draw.random()
        if kind < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.2:
            return {**value, odd_text(draw): odd_value(draw)}
        return {**value, key: _changed(draw, value[key])}
    if isinstance(value, list) and value and draw.random() < 0.8:
        at = draw.randrange(len(value))
        return [*value[:at], _changed(draw, value[at]), *value[at + 1 :]]
    return odd_value(draw)
