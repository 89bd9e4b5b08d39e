"""One file written whole or not at all: whatever interrupts it, what stands there is the old content or the new one."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from pathlib import Path

from .scratch import remove_dead

__all__ = ["write_bytes", "write_json", "write_text"]


def write_bytes(file: Path, content: bytes) -> None:
    """Into a hidden file beside ``file``, to the disk, then renamed; an old file's permissions are kept.

    Raises OSError: ``file`` is as it was before, and nothing else is left.
    """
    named = f".{file.name[:100]}."
    remove_dead(file.parent, named)
    part = file.with_name(f"{named}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with part.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if file.exists():
            shutil.copymode(file, part)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """In UTF-8; what is no text, as in the name of a file, becomes "?". Raises OSError as ``write_bytes``."""
    write_bytes(file, text.encode("utf-8", "replace"))


def write_json(file: Path, content: object, indent: int | None = 1) -> None:
    """JSON with a line end. Raises OSError as ``write_bytes``; ValueError: NaN or Inf, which JSON has not."""
    write_text(file, json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")
