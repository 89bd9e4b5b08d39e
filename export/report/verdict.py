"""Whether to ship the file that an app would get, or not yet: what speaks for it and against it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mvit2.bundle.manifest import Artifact, Manifest
from mvit2.errors import BundleError
from mvit2.export.apps.choose import choose_artifacts

if TYPE_CHECKING:
    from .gather import Report
    from .task import Row

__all__ = ["Reason", "Verdict", "shipped", "verdict"]

Standing = Literal["for", "against", "open"]
_MOST_POINTS = 2.0  # of the task's first metric that an artifact may lose against float32
_FEWEST_IMAGES = 100  # to calibrate on; below it int8 ranges depend on which images they were


@dataclass(frozen=True)
class Reason:
    """One line; ``standing``: it speaks for shipping, against it, or nobody knows yet.

    ``needed``: where it does not speak for it, the file is not shipped.
    """

    standing: Standing
    text: str
    needed: bool = False


@dataclass(frozen=True)
class Verdict:
    """``artifact`` is the file that ``mvit2 app`` chooses."""

    artifact: str
    reasons: tuple[Reason, ...]

    @property
    def ship(self) -> bool:
        """Nothing speaks against it, and what must be known is known."""
        return all(r.standing == "for" or (r.standing == "open" and not r.needed) for r in self.reasons)

    @property
    def headline(self) -> str:
        return f"Ship {self.artifact}" if self.ship else f"Not yet: {self.artifact}"


def shipped(manifest: Manifest) -> Artifact | None:
    """The file that an app would get; None: the bundle holds nothing for an app."""
    try:
        return choose_artifacts(Path(manifest.name), manifest, (), None)[0]
    except BundleError:
        return None


def verdict(report: Report) -> Verdict | None:
    """None: a bundle that holds nothing for an app."""
    manifest = report.manifest
    artifact = shipped(manifest)
    if artifact is None:
        return None
    reasons = [*_weights(manifest), *_parity(manifest, artifact), *_calibration(manifest, artifact)]
    return Verdict(artifact.file.path, (*reasons, _accuracy(report, artifact), _proofs(manifest, artifact)))


def _weights(manifest: Manifest) -> Iterator[Reason]:
    if manifest.weights.name == "untrained":
        yield Reason("against", "the weights were never trained")
    elif manifest.weights.origin == "bundled":
        yield Reason("against", f"{manifest.weights.name} is a demo checkpoint, made to try mvit2 with")
    for assumption in manifest.assumptions:
        yield Reason("open", f"assumed, not known: {assumption} (mvit2 audit CHECKPOINT LABELLED tells)")


def _parity(manifest: Manifest, artifact: Artifact) -> Iterator[Reason]:
    if artifact.unverified is not None:
        yield Reason("against", f"it was never compared with torch: {artifact.unverified}")
    failed = [difference.stage for difference in manifest.parity if not difference.passed]
    if failed:
        yield Reason("against", f"parity failed at {', '.join(failed)}")
    elif manifest.parity:
        yield Reason("for", f"parity with torch passed at all {len(manifest.parity)} stages")


def _calibration(manifest: Manifest, artifact: Artifact) -> Iterator[Reason]:
    found = manifest.calibration
    if found is None or artifact.quantisation is None:
        return
    images = len(found.sha256)
    if found.source == "bundled photographs":
        yield Reason("against", f"calibrated on {images} bundled photographs: export again with --calibration FOLDER")
    else:
        standing: Standing = "for" if images >= _FEWEST_IMAGES else "open"
        yield Reason(standing, f"calibrated on {images} images of yours")


def _accuracy(report: Report, artifact: Artifact) -> Reason:
    rows = {row.artifact: row for row in report.accuracy.rows} if report.accuracy else {}
    row = rows.get(artifact.file.path)
    reference = next((r for r in rows.values() if r.precision == "float32"), None)
    if row is None:
        return Reason("open", "its accuracy was not measured: mvit2 report BUNDLE --eval LABELLED", needed=True)
    if reference is None or row.precision == "float32":
        return Reason("for", f"{row.metrics[0].name} {row.metrics[0].value:.1%} on {row.images} images")
    return _drop(row, reference)


def _drop(row: Row, reference: Row) -> Reason:
    """Points lost to float32, with their interval where images are counted (top-1)."""
    name, lost = row.metrics[0].name, 100 * (reference.metrics[0].value - row.metrics[0].value)
    said = f"{name} {row.metrics[0].value:.1%}, {lost:+.1f} points lost against float32"
    if row.metrics[0].type != "accuracy" or row.agreement is None:
        return Reason("for" if lost <= _MOST_POINTS else "against", f"{said} on {row.images} images")
    margin = _margin(lost / 100, 1 - row.agreement, row.images)
    low, high = lost - margin, lost + margin
    text = f"{said} (95 %: {low:+.1f} to {high:+.1f}) on {row.images} images"
    if low > _MOST_POINTS:
        return Reason("against", text)
    if high > _MOST_POINTS:
        return Reason("open", f"{text}: too few to exclude more than {_MOST_POINTS:g}; evaluate on more", needed=True)
    return Reason("for", text)


def _margin(lost: float, differing: float, images: int) -> float:
    """Of the 95 % interval, in points. Only images with another best class, a share ``differing``, are won or lost."""
    return 100 * 1.959964 * math.sqrt(max(0.0, differing + 1 / images - lost**2) / images)


def _proofs(manifest: Manifest, artifact: Artifact) -> Reason:
    own = [proof for proof in manifest.proofs if proof.file == artifact.file.path]
    failed = list(dict.fromkeys(proof.accelerator for proof in own if not proof.passed))
    if failed:
        return Reason("against", f"it failed on {', '.join(failed)}: do not use it there")
    if own:
        places = ", ".join(dict.fromkeys(proof.accelerator for proof in own))
        return Reason("for", f"its answers were the recorded ones on {places}")
    return Reason("open", "not run on any accelerator, only on the CPU: mvit2 check BUNDLE --on all --record")
