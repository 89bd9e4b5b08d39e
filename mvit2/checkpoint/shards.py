"""The index of a checkpoint in several files (no torch here)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from mvit2.errors import CheckpointError

__all__ = ["INDEX", "shards_of"]

INDEX: Final = ".index.json"
"""What follows the name that a single file would have."""

_MAX_BYTES: Final = 16 << 20
_NAME: Final = re.compile(r"[\w-][\w.-]*")


def shards_of(index: Path) -> list[str]:
    """The files that an index lists, each a plain name beside it. Raises CheckpointError."""
    try:
        size = index.stat().st_size
        content = json.loads(index.read_text(encoding="utf-8") if size <= _MAX_BYTES else "{}")
        names = sorted(set(content["weight_map"].values()))
    except (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError):
        raise CheckpointError(f"{index}: not an index of a checkpoint's files (weight_map); fetch it again.") from None
    odd = next((n for n in names if not (isinstance(n, str) and _NAME.fullmatch(n))), None)
    if odd is not None or not names or any(name.endswith(".index.json") for name in names):
        raise CheckpointError(f"{index} names the file {str(odd or 'none')[:80]!r}, accepted: plain names beside it.")
    return names
