"""Open a bundle and run it: on ONNX Runtime or LiteRT, without torch, tensorflow or onnx."""

from mvit2.runtime.tasks.classify.classifier import Classifier
from mvit2.runtime.tasks.classify.prediction import Prediction
from mvit2.runtime.tasks.segment.result import Area, Segmentation
from mvit2.runtime.tasks.segment.segmenter import Segmenter
from mvit2.runtime.verify.check import BundleReport, check_bundle

from .open import open_bundle

__all__ = [
    "Area",
    "BundleReport",
    "Classifier",
    "Prediction",
    "Segmentation",
    "Segmenter",
    "check_bundle",
    "open_bundle",
]
