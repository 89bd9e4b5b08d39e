"""``mvit2 check``: does this bundle, on this machine and these engines, still compute what torch computed?

Uses nothing but the bundle: its files' hashes, the pixels in ``golden/`` and the probabilities recorded beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvit2.errors import BundleError, ImageError, MissingEngineError
from mvit2.image import load_image
from mvit2.manifest import Difference, FileRecord, Manifest, read_labels, read_manifest, verified_path

from .classifier import open_artifact, scores_of
from .parity import TOLERANCES, compare

__all__ = ["GOLDEN", "BundleReport", "Golden", "check_bundle", "read_golden", "write_golden"]

GOLDEN = "golden/golden.json"


@dataclass(frozen=True)
class Golden:
    """Parity inputs and what the torch model says of them."""

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]  # RGB [N, H, W, 3], after preprocessing
    probabilities: NDArray[np.float32]  # [N, classes]
    # Of each quantised artifact: what it said when it was made, which is what it must say elsewhere.
    quantised: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class BundleReport:
    """``skipped`` names artifacts whose engine is not installed here, with what to install."""

    differences: tuple[Difference, ...]
    skipped: tuple[tuple[str, str], ...]

    @property
    def passed(self) -> bool:
        return bool(self.differences) and all(d.passed for d in self.differences)


def write_golden(bundle: Path, golden: Golden) -> list[str]:
    """Write ``golden/`` (a PNG per input, probabilities as JSON); returns the paths inside the bundle."""
    (bundle / GOLDEN).parent.mkdir()
    cases = []
    for i, (name, pixels) in enumerate(zip(golden.names, golden.pixels, strict=True)):
        file = f"golden/{name}.png"
        Image.fromarray(pixels).save(bundle / file, optimize=True)
        quantised = {artifact: _listed(scores[i]) for artifact, scores in golden.quantised.items()}
        expected = _listed(golden.probabilities[i])
        cases.append({"name": name, "pixels": file, "probabilities": expected, "quantised": quantised})
    (bundle / GOLDEN).write_text(json.dumps({"cases": cases}) + "\n", encoding="utf-8")
    return [GOLDEN, *(str(case["pixels"]) for case in cases)]


def _listed(scores: NDArray[np.float32]) -> list[float]:
    return [float(p) for p in scores]


def read_golden(bundle: Path, manifest: Manifest) -> Golden:
    """Raises BundleError when files are missing, changed, or not of the network's size."""
    files = {f.path: f for f in manifest.files}
    if GOLDEN not in files:
        raise BundleError(f"{bundle} has no golden vectors ({GOLDEN}). Export it again.")
    try:
        cases = json.loads(verified_path(bundle, files[GOLDEN]).read_text(encoding="utf-8"))["cases"]
        names = tuple(str(case["name"]) for case in cases)
        pixels = np.stack([_read_pixels(bundle, files[case["pixels"]], manifest) for case in cases])
        expected = np.array([case["probabilities"] for case in cases], np.float64)
        names_of_quantised = [a.file.path for a in manifest.artifacts if a.quantisation is not None]
        quantised = {
            name: np.array([case["quantised"][name] for case in cases], np.float64) for name in names_of_quantised
        }
    except (ArithmeticError, ImageError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise BundleError(f"{bundle / GOLDEN} cannot be used ({error}). Export the bundle again.") from None
    answers = np.stack([expected, *quantised.values()]) if _alike(expected, quantised) else np.empty(0)
    if pixels.shape[1:] != (*manifest.preprocess.image_size, 3) or answers.shape[1:] != (len(cases), manifest.classes):
        raise BundleError(f"{bundle / GOLDEN}: sizes are not those of the network. Export the bundle again.")
    if not ((answers >= 0) & (answers <= 1)).all():  # False for NaN, too
        raise BundleError(f"{bundle / GOLDEN} holds numbers that are no probabilities. Export the bundle again.")
    return Golden(
        names, pixels, expected.astype(np.float32), {n: scores.astype(np.float32) for n, scores in quantised.items()}
    )


def _alike(expected: NDArray[np.float64], quantised: Mapping[str, NDArray[np.float64]]) -> bool:
    return all(scores.shape == expected.shape for scores in quantised.values())


def _read_pixels(bundle: Path, file: FileRecord, manifest: Manifest) -> NDArray[np.uint8]:
    image = load_image(verified_path(bundle, file))
    height, width = manifest.preprocess.image_size
    if image.size != (width, height):
        raise ValueError(f"{file.path} has {image.height}x{image.width} pixels, the network {height}x{width}")
    return np.asarray(image)


def check_bundle(path: str | Path, threads: int | None = None) -> BundleReport:
    """Run every artifact on the golden inputs and compare with the recorded probabilities of torch.

    Raises BundleError for a bundle that is damaged; differences are in the report, not raised.
    """
    bundle = Path(path)
    manifest = read_manifest(bundle)
    golden = read_golden(bundle, manifest)
    read_labels(bundle, manifest)
    for file in manifest.files:
        verified_path(bundle, file)
    differences, skipped = [], []
    for artifact in manifest.artifacts:
        try:
            backend = open_artifact(bundle, manifest, artifact, threads)
        except MissingEngineError as error:
            skipped.append((artifact.file.path, str(error)))
            continue
        scores = scores_of(backend, manifest.io, manifest.preprocess, golden.pixels)
        tolerance = TOLERANCES[artifact.precision]  # ours, not what an untrusted manifest says
        expected = golden.quantised.get(artifact.file.path, golden.probabilities)
        differences.append(compare(artifact.file.path, expected, scores, tolerance))
    return BundleReport(tuple(differences), tuple(skipped))
