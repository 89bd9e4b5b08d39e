"""How a bundle's files stand at every accelerator: proven, refuted, not tried or not for it; never a blank."""

from __future__ import annotations

from collections.abc import Sequence

from mvit2.bundle.manifest import Artifact, Manifest
from mvit2.bundle.proofs import Proof

from .table import ACCELERATORS

__all__ = ["NOT_FOR_IT", "NOT_PROVEN", "standing", "standings", "told", "unproven"]

NOT_PROVEN, NOT_FOR_IT = "not proven", "not for it"


def standings(manifest: Manifest) -> dict[str, dict[str, str]]:
    """Model file -> accelerator -> what is known, in words."""
    return {
        artifact.file.path: {name: standing(manifest, artifact, name) for name in ACCELERATORS}
        for artifact in manifest.artifacts
    }


def unproven(manifest: Manifest) -> dict[str, list[str]]:
    """Accelerator -> the files that are for it and were not tried there; only accelerators with such files."""
    found = standings(manifest)
    files = {name: [file for file, of in found.items() if of[name] == NOT_PROVEN] for name in ACCELERATORS}
    return {name: some for name, some in files.items() if some}


def standing(manifest: Manifest, artifact: Artifact, accelerator: str) -> str:
    proofs = [p for p in manifest.proofs if (p.file, p.accelerator) == (artifact.file.path, accelerator)]
    if proofs:
        return "; ".join(told(proof, proofs) for proof in proofs)
    return NOT_PROVEN if ACCELERATORS[accelerator].takes(artifact) is None else NOT_FOR_IT


def told(proof: Proof, among: Sequence[Proof] = ()) -> str:
    """A proof in a few words, with its chip where there are several ``among`` which it must be told from."""
    words = [f"{proof.chip}:"] if len(among) > 1 else []
    if proof.verdict == "passed" and proof.answers is not None:
        words.append(f"ok, {proof.placement} operators, max error {proof.answers.max_relative:.1e}")
    elif proof.verdict == "failed":
        words.append("FAILED")
    else:
        words.append(f"{proof.placement} operators, not run")
    return " ".join(words)
