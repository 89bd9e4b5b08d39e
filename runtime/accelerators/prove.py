"""A bundle's files at the places that were asked for: run, compared with their golden outputs, made into proofs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import MANIFEST, Artifact, Manifest, read_manifest, verified_artifact, write_manifest
from mvit2.bundle.proofs import Arithmetic, Proof, merged_proofs
from mvit2.difference import Difference, Measure
from mvit2.errors import Mvit2Error, OutputError
from mvit2.image.preprocess import to_pixel_values
from mvit2.runtime.tasks.outputs import Output, output_of
from mvit2.runtime.verify.golden import Golden, read_golden
from mvit2.versions import installed

from .accelerator import Accelerator, Run, one_line
from .table import Place
from .worker import run_apart

__all__ = ["HALF_PRECISION", "Proven", "Skipped", "prove", "record_proofs", "require_places"]

# What is accepted where float layers are computed in half precision; a measure's numbers are those of
# mvit2.runtime.tasks.compare, and here as there a probability of 1e-6 counts as much as the winner's.
HALF_PRECISION: Mapping[Measure, float] = MappingProxyType({"probabilities": 0.25, "logits": 0.05, "masks": 0.03})
Step = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Skipped:
    """What was not run: ``file`` at ``place``, or nothing at all there where ``file`` is None, and why."""

    place: str
    file: str | None
    reason: str


@dataclass(frozen=True)
class Proven:
    proofs: tuple[Proof, ...]
    skipped: tuple[Skipped, ...]

    @property
    def passed(self) -> bool:
        return bool(self.proofs) and not self.failed

    @property
    def failed(self) -> tuple[Proof, ...]:
        return tuple(proof for proof in self.proofs if not proof.passed)


def require_places(places: Iterable[Place]) -> tuple[tuple[Place, ...], tuple[Skipped, ...]]:
    """Those that can be used here, and those of "all" that cannot. Raises Mvit2Error: a place that was named cannot."""
    usable, skipped = [], []
    for place in places:
        lacking = place.accelerator.missing()
        if lacking is None:
            usable.append(place)
        elif place.optional:
            skipped.append(Skipped(place.name, None, lacking))
        else:
            raise Mvit2Error(f"{place.name}: {lacking}")
    return tuple(usable), tuple(skipped)


def prove(
    bundle: Path,
    places: Iterable[Place],
    *,
    files: Sequence[str] = (),
    compiled: Path | None = None,
    step: Step = lambda title: nullcontext(),
) -> Proven:
    """Run the bundle's model files at ``places``.

    Args:
        files: only these; all of them by default.
        compiled: a folder for what compilers make for their chips.
        step: surrounds each run, which it is given the title of.

    Raises:
        Mvit2Error: a place lacks what it needs, and was not asked for by "all".
        BundleError: the bundle is damaged, or has no such file.
    """
    usable, skipped = require_places(places)
    manifest = read_manifest(bundle)
    case = _Case(bundle, manifest, read_golden(bundle, manifest), output_of(manifest), compiled)
    proofs, left = [], list(skipped)
    for place, artifact in _pairs(usable, _chosen(manifest, files)):
        reason = place.accelerator.takes(artifact)
        if reason is not None:
            left.append(Skipped(place.name, artifact.file.path, reason))
            continue
        with step(f"{place.name}: {artifact.file.path}"):
            proofs.append(case.prove(place, artifact))
    return Proven(tuple(proofs), tuple(left))


def _pairs(places: Sequence[Place], artifacts: Sequence[Artifact]) -> Iterator[tuple[Place, Artifact]]:
    return ((place, artifact) for place in places for artifact in artifacts)


def _chosen(manifest: Manifest, files: Sequence[str]) -> list[Artifact]:
    named = {manifest.artifact(file).file.path for file in files}
    return [artifact for artifact in manifest.artifacts if not files or artifact.file.path in named]


@dataclass(frozen=True)
class _Case:
    """A bundle, opened for being proven."""

    bundle: Path
    manifest: Manifest
    golden: Golden
    output: Output
    compiled: Path | None

    def prove(self, place: Place, artifact: Artifact) -> Proof:
        row, name = place.accelerator, artifact.file.path
        file = verified_artifact(self.bundle, artifact)
        operators = sum(artifact.graph.operators.values())
        run = run_apart(row, place.chip, file, self._inputs(), operators, self._target(place, name))
        proof = Proof(
            file=name,
            accelerator=row.name,
            chip=run.chip,
            arithmetic=run.arithmetic,
            date=datetime.now(UTC).date().isoformat(),
            operators=run.operators,
            placed=run.placed,
            refused=run.refused,
            failure=run.failure,
            findings=run.findings,
            compile_seconds=run.compile_seconds,
            inference_seconds=run.inference_seconds,
            estimate=run.estimate,
            versions=installed(row.libraries),
        )
        return self._judged(row, proof, artifact, run)

    def _judged(self, row: Accelerator, proof: Proof, artifact: Artifact, run: Run) -> Proof:
        """With its answers held against what the file said when it was made, or what the float32 file said."""
        if run.outputs is None or proof.failure is not None:
            return proof
        expected = self.golden.scores[proof.file]
        outputs = self._as_stored(run.outputs)
        if outputs.shape != expected.shape:
            return replace(proof, failure=f"it returns {list(outputs.shape)}, expected {list(expected.shape)}")
        answers = self._compare(proof, proof.file, outputs, artifact)
        floating = self._float_file() if artifact.precision in row.float_activations else None
        if answers.passed or not answers.finite or floating is None:
            return replace(proof, answers=answers)
        exact = self._compare(proof, floating, outputs, artifact)
        if not exact.passed:
            return replace(proof, answers=answers)
        finding = (
            f"compared with {floating}: activations stay in float here, while a CPU rounds them; the CPU's answers "
            f"for this file differ by {answers.max_relative:.2g}"
        )
        return replace(proof, answers=exact, findings=(*proof.findings, finding))

    def _float_file(self) -> str | None:
        """A float32 file of the bundle, which computes what torch does; None: it has none."""
        return next((each.file.path for each in self.manifest.artifacts if each.precision == "float32"), None)

    def _compare(self, proof: Proof, reference: str, outputs: NDArray[Any], artifact: Artifact) -> Difference:
        """With what ``reference``, a file of the bundle, answered on the CPU."""
        tolerance = max(self.output.tolerances[artifact.precision], _widened(proof.arithmetic, self.output))
        return self.output.compare(proof.file, self.golden.scores[reference], outputs, tolerance)

    def _inputs(self) -> NDArray[Any]:
        pixels, manifest = self.golden.pixels, self.manifest
        return pixels if manifest.io == "image" else to_pixel_values(pixels, manifest.preprocess)

    def _as_stored(self, outputs: NDArray[Any]) -> NDArray[Any]:
        if self.manifest.io == "tensor":
            outputs = self.output.of_network(outputs)
        with np.errstate(invalid="ignore"):  # NaN is a finding, not a warning
            return outputs.astype(self.output.dtype, copy=False)

    def _target(self, place: Place, file: str) -> Path | None:
        """model_float32.onnx for 8gen2 -> model_float32.8gen2.onnx."""
        if self.compiled is None or not place.accelerator.compiles:
            return None
        path = self.compiled / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(f"{path.stem}.{place.chip}{path.suffix}")


def _widened(arithmetic: Arithmetic, output: Output) -> float:
    return HALF_PRECISION[output.name] if arithmetic == "float16" else 0.0


def record_proofs(bundle: Path, proofs: Iterable[Proof]) -> Manifest:
    """Put proofs into the bundle's manifest, in the place of older ones of the same file, accelerator and chip.

    The manifest is the old one or the new one, whatever interrupts this. Raises BundleError, OutputError.
    """
    manifest = read_manifest(bundle)
    updated = replace(manifest, proofs=merged_proofs(manifest.proofs, proofs))
    try:
        write_manifest(bundle, updated)
    except OSError as error:
        reason = one_line(error.strerror or error)
        raise OutputError(f"{bundle / MANIFEST} cannot be written ({reason}); it is as it was before.") from None
    return updated
