"""Pictures in, labels with scores out, on ONNX Runtime or LiteRT by the same lines.

>>> classifier = Classifier.open("mobilevitv2-0.5-demo20", artifact="model_float32.tflite")
>>> for prediction in classifier.predict("coffee.jpg", top_k=3):
...     print(f"{prediction.label:20} {prediction.score:.3f}")
"""

from __future__ import annotations

from typing import Any, overload

from mvit2.image.decode import ImageSource
from mvit2.image.preprocess import preprocess
from mvit2.runtime.tasks.bundle_model import BundleModel
from mvit2.tasks import CLASSIFY

from .prediction import Prediction, top_k

__all__ = ["Classifier"]


class Classifier(BundleModel):
    """One artifact of a classifier's bundle."""

    task = CLASSIFY

    @overload
    def predict(self, images: ImageSource, *, top_k: int = 5) -> list[Prediction]: ...
    @overload
    def predict(self, images: list[Any] | tuple[Any, ...], *, top_k: int = 5) -> list[list[Prediction]]: ...
    def predict(self, images: Any, *, top_k: int = 5) -> Any:
        """The best ``top_k`` classes, best first: a list for one image, a list of lists for a list of images.

        An image is a path, encoded bytes, a PIL image or an array: uint8 [H, W], [H, W, 1], RGB [H, W, 3] or RGBA
        [H, W, 4]. OpenCV's arrays are BGR and give wrong answers: pass ``frame[:, :, ::-1]``.
        Raises ImageError, UsageError (top_k < 1).
        """
        if isinstance(images, (list, tuple)):
            return [self._predict(image, top_k) for image in images]
        return self._predict(images, top_k)

    def _predict(self, image: ImageSource, k: int) -> list[Prediction]:
        return top_k(self.scores(preprocess(image, self.manifest.preprocess)[None])[0], self.labels, k)
