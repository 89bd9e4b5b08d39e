"""What keeps a bundle from being written: a stage that differs from torch, or a graph that phones refuse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mvit2.bundle.manifest import Artifact
from mvit2.difference import Difference
from mvit2.errors import CheckFailed

from .formats import format_of

__all__ = ["gate"]


def gate(differences: Sequence[Difference], artifacts: Iterable[Artifact]) -> None:
    """Raises CheckFailed, which carries the table of differences where one of them is too large."""
    failed = [d.stage for d in differences if not d.passed]
    if failed:
        raise CheckFailed(f"parity failed at: {', '.join(failed)}. No bundle was written.", tuple(differences))
    for artifact in artifacts:
        graph, file = artifact.graph, artifact.file.path
        beyond = ", ".join(graph.flex_or_custom) or "none"
        row = format_of(artifact)
        if row is None or row.max_rank is None:
            continue
        if graph.flex_or_custom or graph.max_rank > row.max_rank:
            raise CheckFailed(
                f"{file} holds tensors of rank {graph.max_rank} (accepted: up to {row.max_rank}) and the operators "
                f"{beyond} beyond {row.title}'s own (accepted: none). No bundle was written."
            )
