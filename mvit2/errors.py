"""Everything mvit2 raises on purpose.

    Mvit2Error                  exit 1  the work could not be done
    ├── UsageError              exit 2  the request itself is impossible (argument, option)
    ├── CheckpointError         exit 1  weights or their configuration cannot be used
    ├── ImageError              exit 1  an image cannot be read
    ├── BundleError             exit 1  a bundle or model file is damaged, unknown or too new
    ├── MissingEngineError      exit 1  an optional library is not installed
    ├── ConversionError         exit 1  a step of the export chain failed
    ├── OutputError             exit 1  the result cannot be written where it was asked for
    └── CheckFailed             exit 1  a comparison was made and its verdict is "no"

A message is one line: what was wrong, the value received, what is accepted, what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .difference import Difference

__all__ = [
    "BundleError",
    "CheckFailed",
    "CheckpointError",
    "ConversionError",
    "ImageError",
    "MissingEngineError",
    "Mvit2Error",
    "OutputError",
    "UsageError",
    "did_you_mean",
]


class Mvit2Error(Exception):
    """Root of the tree; ``exit_code`` is what the command line returns for it."""

    exit_code = 1


class UsageError(Mvit2Error):
    """The request itself is impossible: unknown variant, image size 0, ..."""

    exit_code = 2


class CheckpointError(Mvit2Error):
    """Weights or their configuration cannot be used."""


class ImageError(Mvit2Error):
    """A file cannot be read as an image: corrupt, truncated, too large, or something else."""


class BundleError(Mvit2Error):
    """A bundle or model file is damaged, unknown, or of a newer schema."""


class MissingEngineError(Mvit2Error):
    """An optional library is not installed.

    Args:
        library: the import that failed, e.g. ``"onnxruntime"``.
        extra: the extra of mvit2 that brings it, e.g. ``"ort"``.
    """

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed; install it with: pip install 'mvit2[{extra}]'")
        self.library, self.extra = library, extra

    def __reduce__(self) -> tuple[type[MissingEngineError], tuple[str, str]]:
        return type(self), (self.library, self.extra)  # so that it can leave a worker process


class ConversionError(Mvit2Error):
    """A step of the export chain failed."""


class OutputError(Mvit2Error):
    """The result cannot be written where it was asked for."""


class CheckFailed(Mvit2Error):
    """A comparison was made and its verdict is "no"; ``differences`` holds the figures (mvit2/difference.py)."""

    def __init__(self, message: str, differences: tuple[Difference, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences


def did_you_mean(received: str, accepted: Iterable[str]) -> str:
    """``" Did you mean 'tflite'?"`` for a near miss of an accepted word (in any case), else ``""``."""
    words = {word.lower(): word for word in accepted}
    close = difflib.get_close_matches(received.lower(), words, n=2, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(words[word]) for word in close)}?" if close else ""
