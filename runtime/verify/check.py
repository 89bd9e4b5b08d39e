"""``mvit2 check``: does this bundle, on this machine and these engines, still compute what it did when it was made?

Uses nothing but the bundle: its files' hashes and its golden vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvit2.bundle.manifest import read_labels, read_manifest, verified_path
from mvit2.difference import Difference
from mvit2.errors import MissingEngineError
from mvit2.image.preprocess import preprocess
from mvit2.runtime.engines.onnx_runtime import clips_sums
from mvit2.runtime.tasks.bundle_model import open_artifact, scores_of
from mvit2.runtime.tasks.outputs import output_of

from .golden import read_golden

__all__ = ["BundleReport", "check_bundle"]

_CLIPPED = "ONNX Runtime clips its sums on x86-64 without VNNI, phones do not; check it on ARM, and use the .onnx here."


@dataclass(frozen=True)
class BundleReport:
    """What was compared, and what could not be.

    Attributes:
        differences: each model file against the scores that it gave when it was made.
        other_pixels: golden images of which this machine's preprocessing makes other pixels.
        skipped: artifacts that this machine cannot judge, and why: an engine to install, a CPU that clips.
        assumptions: what the export had to assume, and no comparison can prove.
        unverified: artifacts that were never compared with torch, nor here, and why.
    """

    differences: tuple[Difference, ...]
    other_pixels: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    unverified: tuple[tuple[str, str], ...] = ()
    assumptions: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return bool(self.differences) and not self.other_pixels and all(d.passed for d in self.differences)


def check_bundle(path: str | Path, threads: int | None = None) -> BundleReport:
    """Preprocess the golden images, run every artifact on the golden pixels, compare with what is recorded.

    Raises BundleError for a bundle that is damaged; differences are in the report, not raised.
    """
    bundle = Path(path)
    manifest = read_manifest(bundle)
    golden, output = read_golden(bundle, manifest), output_of(manifest)
    read_labels(bundle, manifest)
    for file in manifest.files:
        verified_path(bundle, file)
    cases = zip(golden.names, golden.pictures, golden.pixels, strict=True)
    other_pixels = [
        name
        for name, picture, pixels in cases
        if picture is not None and not np.array_equal(preprocess(picture, manifest.preprocess), pixels)
    ]
    differences, skipped = [], []
    for artifact in manifest.artifacts:
        try:
            backend = open_artifact(bundle, manifest, artifact, threads)
        except MissingEngineError as error:
            skipped.append((artifact.file.path, str(error)))
            continue
        if artifact.quantisation is not None and clips_sums(Path(artifact.file.path)):
            skipped.append((artifact.file.path, _CLIPPED))
            continue
        scores = scores_of(backend, manifest.io, manifest.preprocess, golden.pixels, output)
        tolerance = output.tolerances[artifact.precision]  # ours, not what an untrusted file says
        differences.append(output.compare(artifact.file.path, golden.scores[artifact.file.path], scores, tolerance))
    compared = {difference.stage for difference in differences}
    unverified = tuple((file, why) for file, why in manifest.unverified.items() if file not in compared)
    return BundleReport(tuple(differences), tuple(other_pixels), tuple(skipped), unverified, manifest.assumptions)
