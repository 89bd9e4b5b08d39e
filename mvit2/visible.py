"""Text of files, folders and models made harmless for a terminal: what would steer it is shown instead."""

from __future__ import annotations

import unicodedata

__all__ = ["visible"]

_JOINERS = "\u200c\u200d"  # within words of Persian and Hindi, and between emoji: they only join or part letters
_STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, directions and other invisible formats, lone surrogates, breaks


def visible(text: str) -> str:
    r"""Control characters, line breaks and marks of direction as Python writes them.

    >>> visible("cat\x1b[31m\u202egpj")
    'cat\\x1b[31m\\u202egpj'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _STEERING and c not in _JOINERS else c for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
