"""An image's segmentation: which class every pixel is, how much of each there is, and images of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvit2.errors import ImageError, UsageError
from mvit2.image.decode import ImageSource, load_image
from mvit2.image.palette import rgb_table
from mvit2.image.placement import Placement

__all__ = ["NOT_SEEN", "Area", "Segmentation"]

NOT_SEEN: Final = 255


@dataclass(frozen=True)
class Area:
    """One class that is in an image: its label, its share of all the image's pixels, its index."""

    label: str
    share: float
    index: int


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What ``Segmenter.predict`` gives.

    Attributes:
        mask: uint8 [height, width] of the original, upright image: class indices. Where the preprocessing cuts the
            middle out of an image, the network never sees the rest: these pixels are 255, ``NOT_SEEN``. (A network
            of 256 classes has a class of that index; ``box`` tells them apart.)
        box: (left, top, right, bottom) of what was seen; right and bottom are the first that were not.
        classes: those present, the largest first.
        colors: "#rrggbb", one for each class of the network.
    """

    mask: NDArray[np.uint8]
    box: tuple[int, int, int, int]
    classes: tuple[Area, ...]
    colors: tuple[str, ...]

    @classmethod
    def of(
        cls, seen: NDArray[np.uint8], placement: Placement, labels: Sequence[str], colors: tuple[str, ...]
    ) -> Segmentation:
        """``seen``: uint8 [rows, columns], the classes of the pixels that ``placement`` says were seen."""
        rows, columns = placement.rows.seen, placement.columns.seen
        mask = np.full((placement.rows.picture, placement.columns.picture), NOT_SEEN, np.uint8)
        mask[rows, columns] = seen
        counts = Image.fromarray(seen).histogram() if seen.size else [0] * len(labels)
        present = sorted((-count, index) for index, count in enumerate(counts) if count)
        classes = tuple(Area(labels[index], -count / mask.size, index) for count, index in present)
        return cls(mask, (columns.start, rows.start, columns.stop, rows.stop), classes, colors)

    @property
    def seen(self) -> float:
        """Share of the image's pixels that the network saw."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top) / self.mask.size

    def color_mask(self) -> Image.Image:
        """The mask as a palette image: its pixels are class indices, shown in the classes' colours."""
        image = Image.fromarray(self.mask)
        image.putpalette(rgb_table(self.colors).tobytes())
        return image

    def overlay(self, picture: ImageSource, opacity: float = 0.5) -> Image.Image:
        """The classes' colours over the image that was predicted, in RGB.

        What is of a black class, as the background is, or was not seen stays as it is.

        Raises:
            ImageError: the image cannot be read, or is of another size; UsageError: opacity not in 0..1.
        """
        if not 0 <= opacity <= 1:
            raise UsageError(f"opacity is {opacity}, accepted: 0 to 1.")
        image, (height, width) = load_image(picture), self.mask.shape
        if image.size != (width, height):
            raise ImageError(
                f"the image has {image.width}x{image.height} pixels, its mask {width}x{height}; give the image "
                "that was predicted."
            )
        opacities = np.where(rgb_table(self.colors).any(1), round(255 * opacity), 0).astype(np.uint8)
        left, top, right, bottom = self.box
        how = np.zeros_like(self.mask)
        how[top:bottom, left:right] = opacities[self.mask[top:bottom, left:right]]
        return Image.composite(self.color_mask().convert("RGB"), image, Image.fromarray(how))
