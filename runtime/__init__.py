"""Open a bundle and run it: on ONNX Runtime or LiteRT, without torch, tensorflow or onnx."""

from mvit2.image import Prediction

from .bundle import open_bundle
from .check import BundleReport, check_bundle
from .classifier import Classifier
from .segmentation import Area, Segmentation
from .segmenter import Segmenter

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
