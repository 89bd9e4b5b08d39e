"""Two models compared on the same images: the figures, and by which measure they were taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = ["MEASURES", "Difference", "Measure"]

Measure = Literal["probabilities", "logits", "masks"]
MEASURES: Mapping[Measure, tuple[str, str, str]] = MappingProxyType(  # -> the three figures of a Difference, in words
    {
        "probabilities": ("max |Δ p|", "max |Δ log p|", "top-1 agreement"),
        "logits": ("max |Δ logit|", "of their range", "same class"),
        "masks": ("max other pixels", "of an image", "same mask"),
    }
)


@dataclass(frozen=True)
class Difference:
    """One stage of the chain compared with the torch model over all parity inputs.

    What the figures are, by ``measure``:
        probabilities: max |difference|; that of their logarithms; share of images with the same first class.
        logits: max |difference|; that relative to their range; share of pixels with the same class.
        masks: pixels of another class in the worst image; their share of it; share of images within the tolerance.
    Two classes closer than the tolerance are a tie, in which either may come first.
    """

    stage: str
    inputs: int  # how many images were compared
    max_absolute: float
    max_relative: float
    top1_agreement: float
    tolerance: float  # accepted max_relative
    finite: bool = True  # no NaN or Inf anywhere
    measure: Measure = "probabilities"

    @property
    def passed(self) -> bool:
        near = self.max_absolute >= 0 and self.max_relative <= self.tolerance  # NaN is neither
        return self.finite and near and self.top1_agreement == 1.0
