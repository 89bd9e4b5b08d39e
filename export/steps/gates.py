"""What keeps a bundle from being written: a stage that differs from torch, or a graph that phones refuse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mvit2.bundle.manifest import Artifact
from mvit2.difference import Difference
from mvit2.errors import CheckFailed
from mvit2.export.formats import format_of

__all__ = ["gate"]


def gate(differences: Sequence[Difference], artifacts: Iterable[Artifact]) -> None:
    """Raises CheckFailed, which carries the table of differences where one of them is too large."""
    failed = [d.stage for d in differences if not d.passed]
    if failed:
        raise CheckFailed(f"parity failed at: {', '.join(failed)}. No bundle was written.", tuple(differences))
    for artifact in artifacts:
        row = format_of(artifact.file.path)
        for refuse in () if row is None else row.gates:
            said = refuse(artifact.graph)
            if said is not None:
                raise CheckFailed(f"{artifact.file.path} {said}. No bundle was written.")
