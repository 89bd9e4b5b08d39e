"""A model file as an artifact of the manifest."""

from __future__ import annotations

from pathlib import Path

from mvit2.bundle.files import record_model
from mvit2.bundle.manifest import Artifact, GraphFacts, Precision
from mvit2.bundle.measurements import Quantisation
from mvit2.difference import Difference
from mvit2.runtime.engines.backend import Backend

from .formats import Format

__all__ = ["artifact_of"]


def artifact_of(
    row: Format,
    file: Path,
    precision: Precision,
    backend: Backend,
    proof: Difference | Quantisation,
    graph: GraphFacts | None = None,
) -> Artifact:
    """``file``, a file or a folder, which ``backend`` has open.

    Args:
        proof: how near it is to torch or, quantised, to float32.
        graph: what is in it; None: it is looked at.
    """
    entry, parts = record_model(file.parent, file.name)
    if graph is None:
        graph = row.inspected(file)
    parity, quantisation = (proof, None) if isinstance(proof, Difference) else (None, proof)
    facts = backend.input, backend.outputs
    return Artifact(entry, row.engine, precision, *facts, graph, parity, quantisation, files=parts)
