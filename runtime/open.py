"""A bundle opened for what its network does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from mvit2.bundle.manifest import read_manifest
from mvit2.runtime.tasks.classify.classifier import Classifier
from mvit2.runtime.tasks.segment.segmenter import Segmenter

__all__ = ["open_bundle"]

_BY_TASK: Mapping[str, type[Classifier] | type[Segmenter]] = MappingProxyType(
    {kind.task.manifest: kind for kind in (Classifier, Segmenter)}
)


def open_bundle(path: str | Path, artifact: str | None = None, *, threads: int | None = None) -> Classifier | Segmenter:
    """A Classifier or a Segmenter, as the bundle's manifest says; arguments and errors are those of their ``open``."""
    return _BY_TASK[read_manifest(Path(path)).task].open(path, artifact, threads=threads)
