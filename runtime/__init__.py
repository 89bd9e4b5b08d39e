"""Open a bundle and run it: on ONNX Runtime or LiteRT, without torch, tensorflow or onnx."""

from mvit2.image import Prediction

from .check import BundleReport, check_bundle
from .classifier import Classifier, open_bundle

__all__ = ["BundleReport", "Classifier", "Prediction", "check_bundle", "open_bundle"]
