"""Pictures in, the class of every pixel out, on ONNX Runtime or LiteRT by the same lines.

>>> segmenter = Segmenter.open("mobilevitv2-1.0-voc-deeplabv3")
>>> found = segmenter.predict("street.jpg")
>>> found.overlay("street.jpg").save("overlay.png")
>>> for area in found.classes:
...     print(f"{area.label:20} {area.share:.1%}")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import MAX_MASK_CLASSES, Artifact, Manifest, OutputKind
from mvit2.errors import BundleError, CheckFailed
from mvit2.image.decode import ImageSource
from mvit2.image.placement import Placement
from mvit2.image.preprocess import preprocess_placed
from mvit2.runtime.engines.backend import Backend
from mvit2.runtime.tasks.bundle_model import BundleModel
from mvit2.runtime.tasks.outputs import output_of
from mvit2.tasks import SEGMENT

from .result import Segmentation
from .upsample import classes_of_logits, classes_of_mask

__all__ = ["Segmenter", "classes_seen", "on_picture"]

_ON_PICTURE: Mapping[OutputKind, Any] = MappingProxyType({"scores": classes_of_logits, "mask": classes_of_mask})


class Segmenter(BundleModel):
    """One artifact of a segmentation network's bundle."""

    task = SEGMENT

    def __init__(self, manifest: Manifest, artifact: Artifact, labels: Sequence[str], backend: Backend) -> None:
        if manifest.class_count > MAX_MASK_CLASSES:
            raise BundleError(
                f"{manifest.name} has {manifest.class_count} classes, accepted: at most {MAX_MASK_CLASSES}, a mask has "
                "a byte for a pixel; export a network with fewer classes."
            )
        super().__init__(manifest, artifact, labels, backend)

    @overload
    def predict(self, images: ImageSource) -> Segmentation: ...
    @overload
    def predict(self, images: list[Any] | tuple[Any, ...]) -> list[Segmentation]: ...
    def predict(self, images: Any) -> Any:
        """The class of every pixel of the original image: a Segmentation for one image, a list for a list.

        Where the preprocessing stretches the whole image, this is transformers' post_process_semantic_segmentation
        with the image's size among ``target_sizes``. Where it cuts the middle out, resize and crop are undone, so
        that the mask lies on the image; the pixels outside the crop get no class (see Segmentation.mask).

        An image is a path, encoded bytes, a PIL image or an array: uint8 [H, W], [H, W, 1], RGB [H, W, 3] or RGBA
        [H, W, 4]. OpenCV's arrays are BGR and give wrong answers: pass ``frame[:, :, ::-1]``.
        Raises ImageError; CheckFailed: the model answers NaN, Inf or a class that it does not have.
        """
        if isinstance(images, (list, tuple)):
            return [self._predict(image) for image in images]
        return self._predict(images)

    def _predict(self, image: ImageSource) -> Segmentation:
        manifest = self.manifest
        pixels, placement = preprocess_placed(image, manifest.preprocess)
        output = self.scores(pixels[None])[0]
        if not output_of(manifest).sound(output, manifest.class_count):
            raise CheckFailed(
                f"{self.artifact.file.path} returned NaN, Inf or a class that it does not have (it has 0 to "
                f"{manifest.class_count - 1}); check it against its checkpoint"
            )
        return on_picture(manifest, self.labels, output, placement)


def on_picture(manifest: Manifest, labels: Sequence[str], output: NDArray[Any], placement: Placement) -> Segmentation:
    """One answer of a model, [h, w, classes] or [H, W], put on the image that it is about."""
    seen = classes_seen(manifest.output_kind, output, placement)
    return Segmentation.of(seen, placement, labels, manifest.colors)


def classes_seen(kind: OutputKind, output: NDArray[Any], placement: Placement) -> NDArray[np.uint8]:
    """[rows, columns]: the class of each of the image's pixels that the network saw (Placement's ``seen``)."""
    found: NDArray[np.uint8] = _ON_PICTURE[kind](output, placement)
    return found
