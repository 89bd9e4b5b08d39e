"""What an evaluation knows of each image: a row of answers, one for each artifact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from mvit2.image.decode import MAX_PIXELS
from mvit2.metrics.confusion import Cell

__all__ = ["Answer", "MaskAnswer", "Row"]


@dataclass(frozen=True)
class Answer:
    """What one artifact says of one image. The last two are None where no float32 artifact takes part."""

    classes: tuple[int, ...]  # the best five, best first; of equal scores the lower index
    scores: tuple[float, ...]  # their probabilities
    noise: float | None  # sum over classes of (centred logits less the reference's)^2
    drift: float | None  # |difference| to the reference of the log-probability of the reference's first class

    def __post_init__(self) -> None:
        if not self.classes or len(self.classes) != len(self.scores) or (self.noise is None) != (self.drift is None):
            raise ValueError("an answer needs classes with a score each, and both noise and drift or none")

    def fits(self, classes: int, artifacts: int) -> bool:
        return all(0 <= index < classes for index in self.classes)


@dataclass(frozen=True)
class MaskAnswer:
    """What one artifact says of the pixels of one image."""

    labelled: int  # pixels of the image whose class counts, seen by the network or not
    cells: tuple[Cell, ...]  # those of them that were seen, by true and answered class
    equal: tuple[int, ...]  # pixels that were seen, of any class, with the class that each artifact says; itself: all
    noise: float | None  # as of Answer, over all cells of the network's answer; None of masks, too

    def __post_init__(self) -> None:
        numbers = (self.labelled, *self.equal, *(pixels for _, _, pixels in self.cells))
        if not self.equal or not all(0 <= pixels <= MAX_PIXELS for pixels in numbers):
            raise ValueError("an answer needs numbers of pixels that an image can have")

    def fits(self, classes: int, artifacts: int) -> bool:
        known = all(0 <= index < classes for truth, answer, _ in self.cells for index in (truth, answer))
        return known and len(self.equal) == artifacts


A = TypeVar("A", Answer, MaskAnswer)


@dataclass(frozen=True)
class Row(Generic[A]):
    """One image: the answers in the order of the artifacts, or why it cannot be read."""

    picture: int  # its place in the list of images
    power: float = 0.0  # sum over classes of the reference's (centred logits)^2
    answers: tuple[A, ...] = ()
    error: str | None = None

    def __post_init__(self) -> None:
        if bool(self.answers) == (self.error is not None):
            raise ValueError("a row has either answers or an error")
