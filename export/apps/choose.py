"""Which model files of a bundle go into an app, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mvit2.bundle.manifest import Artifact, Engine, Manifest, Precision
from mvit2.errors import BundleError, did_you_mean
from mvit2.export.formats import format_of
from mvit2.units import human_bytes

__all__ = ["ENGINES", "choose_artifacts", "reason"]

ENGINES: Final[tuple[Engine, ...]] = ("litert", "onnxruntime")  # the first that a bundle has files for
_PRECISIONS: Final[tuple[Precision, ...]] = ("int8", "float16", "float32", "dynamic", "full-int8")  # the best first


def choose_artifacts(
    bundle: Path, manifest: Manifest, wanted: Sequence[str], engine: Engine | None
) -> tuple[Artifact, ...]:
    """The files named in ``wanted``; without names, the one that suits most apps.

    Raises BundleError: a name that the bundle does not hold, or no file for ``engine``.
    """
    engines = ENGINES if engine is None else (engine,)
    held, those = [a for a in manifest.artifacts if a.engine in engines], " or ".join(engines)
    named = tuple(manifest.artifact(name) for name in dict.fromkeys(wanted))
    other = next((a for a in named if a not in held), None)
    if other is not None:
        files = [a.file.path for a in held]
        near, accepted = did_you_mean(other.file.path, files), ", ".join(files) or "none"
        raise BundleError(f"{other.file.path} is for {other.engine}, not for {those}.{near} It holds: {accepted}.")
    if not held:
        others = ", ".join(a.file.path for a in manifest.artifacts)
        raise BundleError(f"{bundle} has no file for {those}. It holds: {others}. Leave out --engine, or export it.")
    return named or (min(held, key=_rank),)


def _rank(artifact: Artifact) -> tuple[int, int, bool]:
    """Files of .onnx before .ort, which is for builds of ONNX Runtime that read nothing else."""
    order, row = (ENGINES.index(artifact.engine), _PRECISIONS.index(artifact.precision)), format_of(artifact.file.path)
    return *order, row is not None and row.repacks


def reason(artifact: Artifact, manifest: Manifest, wanted: Sequence[str]) -> str:
    """One line: what the file is, and why it was taken."""
    about = f"{artifact.file.path}: {artifact.precision} for {artifact.engine}, {human_bytes(artifact.file.bytes)}"
    if wanted:
        return f"{about}; asked for."
    others = [a.file.path for a in manifest.artifacts if a != artifact]
    rest = f" Also in the bundle, by --artifact: {', '.join(others)}." if others else ""
    return f"{about}; chosen: {' before '.join(ENGINES)}, int8 before float16 before float32.{rest}"
