"""The last gate of an export: its files at the accelerators that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mvit2.bundle.manifest import Manifest
from mvit2.errors import CheckFailed
from mvit2.runtime.accelerators.prove import prove, record_proofs, require_places
from mvit2.runtime.accelerators.table import Place, parse_places

from .listener import Listener

__all__ = ["prove_gate", "require_usable"]


def require_usable(words: Sequence[str], listener: Listener) -> tuple[Place, ...]:
    """The places named by ``--prove`` that can be used here; those of "all" that cannot are warned of.

    Raises UsageError: an unknown one. Mvit2Error: one that was named lacks what it needs.
    """
    usable, skipped = require_places(parse_places("--prove", words))
    for one in skipped:
        listener.warn(f"{one.place} was skipped: {one.reason}")
    return usable


def prove_gate(bundle: Path, places: Sequence[Place], listener: Listener) -> Manifest:
    """Run the bundle's files there and record what they said. Raises CheckFailed where one of them is wrong."""
    proven = prove(bundle, places, step=listener.step)
    if proven.failed:
        said = "; ".join(f"{proof.file} on {proof.accelerator}: {proof.reason}" for proof in proven.failed)
        answers = tuple(proof.answers for proof in proven.failed if proof.answers is not None)
        raise CheckFailed(f"--prove failed: {said}. No bundle was written.", answers)
    for place in places:
        if not any(proof.accelerator == place.accelerator.name for proof in proven.proofs):
            listener.warn(f"nothing was proven on {place.name}: none of the bundle's files is for it.")
    return record_proofs(bundle, proven.proofs)
