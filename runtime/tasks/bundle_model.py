"""A bundle opened on one of its model files: found, verified, held against the manifest, and run on pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import IO, Artifact, Manifest, read_labels, read_manifest, verified_artifact
from mvit2.errors import BundleError, ImageError, MissingEngineError
from mvit2.image.preprocess import to_pixel_values
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime.engines.backend import Backend
from mvit2.runtime.engines.table import open_any
from mvit2.runtime.verify.made_for import require_same_preprocessing
from mvit2.tasks import Task, require_task

from .outputs import PROBABILITIES, Output, output_of

__all__ = ["BundleModel", "open_artifact", "scores_of"]


class BundleModel:
    """One artifact of a bundle, ready to predict; ``Classifier`` and ``Segmenter`` say what.

    Attributes:
        manifest: what the bundle says of itself.
        artifact: the model file in use.
        labels: class names by index.
    """

    task: ClassVar[Task]

    def __init__(self, manifest: Manifest, artifact: Artifact, labels: Sequence[str], backend: Backend) -> None:
        self.manifest, self.artifact, self.labels, self._backend = manifest, artifact, labels, backend

    @classmethod
    def open(cls, path: str | Path, artifact: str | None = None, *, threads: int | None = None) -> Self:
        """Open a bundle on one of its artifacts.

        Args:
            path: the bundle's folder.
            artifact: file name such as "model_float16.tflite"; by default the first whose engine is installed.
            threads: how many threads one inference may use; None is the engine's own choice.

        Raises:
            BundleError: no bundle, damaged, of a newer schema, of another task, or without that artifact.
            MissingEngineError: the artifact's engine is not installed; names the extra to install.
        """
        bundle = Path(path)
        manifest = read_manifest(bundle)
        require_task(cls.task, manifest.task, bundle)
        labels = read_labels(bundle, manifest)
        missing: MissingEngineError | None = None
        for candidate in manifest.artifacts if artifact is None else (manifest.artifact(artifact),):
            try:
                backend = open_artifact(bundle, manifest, candidate, threads)
            except MissingEngineError as error:
                missing = missing or error
                continue
            return cls(manifest, candidate, labels, backend)
        assert missing is not None  # a manifest lists at least one artifact
        raise missing

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """What the model says of uint8 RGB [N, H, W, 3] as mvit2.image.preprocess.preprocess makes them.

        Returns:
            A classifier: softmax probabilities float32 [N, classes]. A segmenter: logits float32 [N, h, w, classes]
            or, by its manifest's output_kind, masks uint8 [N, H, W].

        Raises:
            ImageError: pixels of another dtype or shape.
        """
        manifest = self.manifest
        return scores_of(self._backend, manifest.io, manifest.preprocess, pixels, output_of(manifest))


def scores_of(
    backend: Backend, io: IO, spec: PreprocessSpec, pixels: NDArray[np.uint8], output: Output = PROBABILITIES
) -> NDArray[Any]:
    """Run an artifact on uint8 RGB [N, H, W, 3] -> its outputs [N, ...], such as probabilities float32 [N, classes].

    One image at a time, or all of them at once where the model's batch is open. Raises ImageError: other pixels.
    """
    height, width = spec.image_size
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (height, width, 3) or not len(pixels):
        raise ImageError(
            f"pixels are {pixels.dtype} {list(pixels.shape)}, accepted: uint8 [N, {height}, {width}, 3], N >= 1; "
            "make them with mvit2.image.preprocess.preprocess."
        )
    inputs = pixels if io == "image" else to_pixel_values(pixels, spec)
    batches = [inputs] if backend.input.shape[0] is None else [image[None] for image in inputs]
    outputs = np.concatenate([backend.run(batch) for batch in batches])
    return (outputs if io == "image" else output.of_network(outputs)).astype(output.dtype, copy=False)


def open_artifact(bundle: Path, manifest: Manifest, artifact: Artifact, threads: int | None = None) -> Backend:
    """Open one of the bundle's model files. Raises as BundleModel.open, and where the model has another interface."""
    output = output_of(manifest)
    backend = open_any(verified_artifact(bundle, artifact), threads)
    height, width = manifest.preprocess.image_size
    shape = (height, width, 3) if manifest.io == "image" else (3, height, width)
    said = ("uint8" if manifest.io == "image" else "float32", shape, output.dtype, output.shape(manifest, artifact))
    found = (backend.input.dtype, backend.input.shape[1:], backend.output.dtype, backend.output.shape[1:])
    others = [[(facts.dtype, facts.shape) for facts in outputs[1:]] for outputs in (backend.outputs, artifact.outputs)]
    if len(backend.inputs) != 1 or others[0] != others[1]:
        raise BundleError(
            f"{bundle / artifact.file.path} has {len(backend.inputs)} input(s) and {len(backend.outputs)} output(s), "
            f"the manifest says 1 and {len(artifact.outputs)}, of other types or shapes. Export it again."
        )
    if found != said:
        raise BundleError(f"{bundle / artifact.file.path} maps {found}, the manifest says {said}. Export it again.")
    require_same_preprocessing(bundle / artifact.file.path, manifest.preprocess)
    return backend
