"""A bundle opened: pictures in, labels with scores out, on ONNX Runtime or LiteRT by the same lines.

>>> classifier = open_bundle("mobilevitv2-0.5-demo20", artifact="model_float32.tflite")
>>> for prediction in classifier.predict("coffee.jpg", top_k=3):
...     print(f"{prediction.label:20} {prediction.score:.3f}")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from mvit2.errors import BundleError, ImageError, MissingEngineError, did_you_mean
from mvit2.image import ImageSource, Prediction, preprocess, to_pixel_values, top_k
from mvit2.manifest import IO, Artifact, Manifest, read_labels, read_manifest, verified_path
from mvit2.preprocess_spec import PreprocessSpec

from .backend import Backend, open_model
from .parity import log_softmax

__all__ = ["Classifier", "open_artifact", "open_bundle", "scores_of"]


class Classifier:
    """One artifact of a bundle, ready to predict.

    Attributes:
        manifest: what the bundle says of itself.
        artifact: the model file in use.
        labels: class names by index.
    """

    def __init__(self, manifest: Manifest, artifact: Artifact, labels: Sequence[str], backend: Backend) -> None:
        self.manifest, self.artifact, self.labels, self._backend = manifest, artifact, labels, backend

    @overload
    def predict(self, images: ImageSource, *, top_k: int = 5) -> list[Prediction]: ...
    @overload
    def predict(self, images: list[Any] | tuple[Any, ...], *, top_k: int = 5) -> list[list[Prediction]]: ...
    def predict(self, images: Any, *, top_k: int = 5) -> Any:
        """The best ``top_k`` classes, best first: a list for one image, a list of lists for a list of images.

        An image is a path, encoded bytes, a PIL image or an array (uint8 [H, W], [H, W, 1 | 3 | 4]).
        Raises ImageError, UsageError (top_k < 1).
        """
        if isinstance(images, (list, tuple)):
            return [self._predict(image, top_k) for image in images]
        return self._predict(images, top_k)

    def _predict(self, image: ImageSource, k: int) -> list[Prediction]:
        return top_k(self.scores(preprocess(image, self.manifest.preprocess)[None])[0], self.labels, k)

    def scores(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB [N, H, W, 3] as mvit2.image.preprocess makes them -> softmax probabilities float32 [N, classes].

        Raises ImageError: pixels of another dtype or shape.
        """
        return scores_of(self._backend, self.manifest.io, self.manifest.preprocess, pixels)


def scores_of(backend: Backend, io: IO, spec: PreprocessSpec, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run an artifact on uint8 RGB [N, H, W, 3] -> softmax probabilities float32 [N, classes].

    One image at a time, or all of them at once where the model's batch is open. Raises ImageError: other pixels.
    """
    height, width = spec.image_size
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (height, width, 3) or not len(pixels):
        raise ImageError(
            f"pixels are {pixels.dtype} {list(pixels.shape)}, accepted: uint8 [N, {height}, {width}, 3], N >= 1; "
            "make them with mvit2.image.preprocess."
        )
    inputs = pixels if io == "image" else to_pixel_values(pixels, spec)
    batches = [inputs] if backend.input.shape[0] is None else [image[None] for image in inputs]
    outputs = np.concatenate([backend.run(batch) for batch in batches])
    return (outputs if io == "image" else np.exp(log_softmax(outputs))).astype(np.float32, copy=False)


def open_bundle(path: str | Path, artifact: str | None = None, *, threads: int | None = None) -> Classifier:
    """Open a bundle on one of its artifacts.

    Args:
        path: the bundle's folder.
        artifact: file name such as "model_float16.tflite"; by default the first whose engine is installed.
        threads: how many threads one inference may use; None is the engine's own choice.

    Raises:
        BundleError: no bundle, damaged, of a newer schema, or without that artifact.
        MissingEngineError: the artifact's engine is not installed; names the extra to install.
    """
    bundle = Path(path)
    manifest = read_manifest(bundle)
    labels = read_labels(bundle, manifest)
    missing: MissingEngineError | None = None
    for candidate in _candidates(bundle, manifest, artifact):
        try:
            backend = open_artifact(bundle, manifest, candidate, threads)
        except MissingEngineError as error:
            missing = missing or error
            continue
        return Classifier(manifest, candidate, labels, backend)
    assert missing is not None  # a manifest lists at least one artifact
    raise missing


def open_artifact(bundle: Path, manifest: Manifest, artifact: Artifact, threads: int | None = None) -> Backend:
    """Open one of the bundle's model files. Raises as open_bundle does, and where the model has another interface."""
    backend = open_model(verified_path(bundle, artifact.file), threads)
    height, width = manifest.preprocess.image_size
    shape = (height, width, 3) if manifest.io == "image" else (3, height, width)
    said = ("uint8" if manifest.io == "image" else "float32", shape, (manifest.classes,))
    found = (backend.input.dtype, backend.input.shape[1:], backend.output.shape[1:])
    if found != said:
        raise BundleError(f"{bundle / artifact.file.path} maps {found}, the manifest says {said}. Export it again.")
    return backend


def _candidates(bundle: Path, manifest: Manifest, artifact: str | None) -> Sequence[Artifact]:
    names = [a.file.path for a in manifest.artifacts]
    if artifact is not None and artifact not in names:
        near = did_you_mean(artifact, names)
        raise BundleError(f"{bundle} has no artifact {artifact!r}.{near} It holds: {', '.join(names)}.")
    return [a for a in manifest.artifacts if artifact in (None, a.file.path)]
