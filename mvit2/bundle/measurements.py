"""What was measured of a bundle, as its manifest keeps it: calibration, accuracy, what quantisation cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mvit2.tasks import CLASSIFY, SEGMENT

__all__ = ["Accuracy", "Calibration", "Fidelity", "MaskAccuracy", "Quantisation"]


@dataclass(frozen=True)
class Calibration:
    """The images that int8 ranges were learned on: sha256 of each file, and how many of them were held out."""

    source: Literal["folder", "bundled photographs"]
    seed: int
    sha256: tuple[str, ...]
    held_out: int


@dataclass(frozen=True)
class Accuracy:
    """Right answers among ``images`` labelled images."""

    images: int
    top1: int
    top5: int

    @property
    def metric(self) -> str:
        return CLASSIFY.metric

    @property
    def share(self) -> float:
        return self.top1 / self.images

    def points_below(self, other: Accuracy | MaskAccuracy) -> float:
        """How many points of the metric this is worse than ``other``, of the same images."""
        assert isinstance(other, Accuracy)
        return 100 * (other.top1 - self.top1) / self.images  # exact, where the difference of shares is not


@dataclass(frozen=True)
class MaskAccuracy:
    """Right pixels of ``images`` images with masks, over all pixels together (mvit2.metrics.confusion)."""

    images: int
    mean_iou: float
    pixel_accuracy: float
    iou: tuple[float | None, ...]  # of each class; None: it does not occur, or its pixels do not count

    def __post_init__(self) -> None:
        shares = (self.mean_iou, self.pixel_accuracy, *(iou for iou in self.iou if iou is not None))
        if self.images < 1 or not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"mIoU {self.mean_iou} on {self.images} images, accepted: shares on 1 or more")

    @property
    def metric(self) -> str:
        return SEGMENT.metric

    @property
    def share(self) -> float:
        return self.mean_iou

    def points_below(self, other: Accuracy | MaskAccuracy) -> float:
        return 100 * (other.share - self.share)


@dataclass(frozen=True)
class Fidelity:
    """A quantised artifact compared with the float32 one on images that it was not calibrated on.

    Logits are compared as log-probabilities less their mean, which is what is left of them in any artifact.
    """

    source: Literal["held-out calibration pictures", "evaluation pictures"]
    images: int
    agreement: float  # share of images with the same first class; of the pixels of the network's answers
    snr_db: float  # 10 log10(power of the float logits / power of the difference)
    max_error: float  # max |difference| of probabilities
    float_accuracy: Accuracy | MaskAccuracy | None = None  # of the float32 artifact, where the images have labels
    accuracy: Accuracy | MaskAccuracy | None = None

    @property
    def on(self) -> str:
        """Which images, in words: "16 held-out calibration images". (The manifest calls them pictures.)"""
        return f"{self.images} {self.source.replace('pictures', 'images')}"


@dataclass(frozen=True)
class Quantisation:
    """How an artifact was quantised, and how near it is to float32."""

    method: str  # how the activations' ranges were found; "none" where there are none
    float_blocks: tuple[str, ...]  # blocks of the network that stayed float
    candidates: Mapping[str, float]  # method -> logit SNR in dB on the held-out images, simulated
    fidelity: Fidelity
