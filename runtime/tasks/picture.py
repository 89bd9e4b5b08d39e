"""What every process of an evaluation must know: the bundle, its artifacts, and images with what is true of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import Artifact, Manifest
from mvit2.image.decode import load_mask

__all__ = ["File", "Job", "Picture", "Truth", "size_of"]


def size_of(path: Path) -> int | None:
    """In bytes; None where there is no file that may be read."""
    return path.stat().st_size if os.access(path, os.R_OK) else None


@dataclass(frozen=True)
class File:
    """Where it lies (absolute), and its ``size_of`` when the evaluation was planned."""

    path: Path
    size: int | None
    reduced: bool = False  # of a mask: index 0 is no class, and k is class k - 1

    @classmethod
    def of(cls, path: Path, reduced: bool = False) -> File:
        return cls(path.absolute(), size_of(path), reduced)

    def mask(self) -> NDArray[np.uint8]:
        """The class indices in it. Raises ImageError."""
        return load_mask(self.path, self.reduced)


Truth = int | File
"""The index of an image's class, or the mask with those of its pixels."""


@dataclass(frozen=True)
class Picture:
    """One image of an evaluation; ``index`` is its place in the list."""

    index: int
    file: File
    truth: Truth

    @property
    def files(self) -> tuple[File, ...]:
        return (self.file, self.truth) if isinstance(self.truth, File) else (self.file,)


@dataclass(frozen=True)
class Job:
    """What is done with each image.

    Attributes:
        reference: the place of the float32 artifact that others are held against.
        ignored: indices of masks whose pixels do not count.
    """

    bundle: Path
    manifest: Manifest
    artifacts: tuple[Artifact, ...]
    reference: int | None
    ignored: frozenset[int] = frozenset()
