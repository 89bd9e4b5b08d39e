"""Where an image's pixels go on their way into the network, and the way back: resize, then centre crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .preprocess_spec import PreprocessSpec

__all__ = ["Axis", "Placement"]


@dataclass(frozen=True)
class Axis:
    """One axis, in pixels.

    Attributes:
        image: of the upright image.
        resized: of the image after the resize.
        network: of the crop, which is the network's input; larger than ``resized`` where zeros are added.
    """

    picture: int
    resized: int
    network: int

    @property
    def start(self) -> int:
        """Where the crop begins on the resized image; negative where zeros come first."""
        return (self.resized - self.network) // 2

    @property
    def seen(self) -> slice:
        """The image's pixels whose middle lies in the crop; none, it may be, of an image of two pixels."""
        first, stop = (self._first_at(edge) for edge in (self.start, self.start + self.network))
        return slice(max(0, first), min(self.picture, stop))

    def on_network(self, pixels: slice) -> npt.NDArray[np.float64]:
        """Where the middles of these pixels of the image lie on the network's input, in its pixels from its edge."""
        found: npt.NDArray[np.float64] = self._doubled_middles(pixels) / (2 * self.picture) - self.start
        return found

    def nearest(self, pixels: slice) -> npt.NDArray[np.int64]:
        """In which pixels of the network's input these middles lie, exactly."""
        found: npt.NDArray[np.int64] = self._doubled_middles(pixels) // (2 * self.picture) - self.start
        return found

    def _doubled_middles(self, pixels: slice) -> npt.NDArray[np.int64]:
        return (2 * np.arange(pixels.start, pixels.stop, dtype=np.int64) + 1) * self.resized

    def _first_at(self, edge: int) -> int:
        """The first pixel of the image whose middle is at ``edge`` of the resized one or beyond it, exactly."""
        return -((self.resized - 2 * self.picture * edge) // (2 * self.resized))


@dataclass(frozen=True)
class Placement:
    """Both axes of an image.

    The sizes follow transformers' image_transforms.py: a resize truncates the long edge to
    ``int(shortest * long / short)`` (get_resize_output_image_size); a crop begins at the offset rounded down
    (center_crop).
    """

    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, size: tuple[int, int], spec: PreprocessSpec) -> Placement:
        """``size``: (width, height) of the upright image, as Pillow orders them."""
        width, height = _resized(size, spec)
        return cls(Axis(size[1], height, spec.image_size[0]), Axis(size[0], width, spec.image_size[1]))

    @property
    def resized(self) -> tuple[int, int]:
        """(width, height)"""
        return self.columns.resized, self.rows.resized

    @property
    def crop(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the network's input on the resized image."""
        left, top = self.columns.start, self.rows.start
        return left, top, left + self.columns.network, top + self.rows.network


def _resized(size: tuple[int, int], spec: PreprocessSpec) -> tuple[int, int]:
    if spec.resize_exact is not None:
        return spec.resize_exact[1], spec.resize_exact[0]
    if spec.resize_shortest is None:
        return size
    width, height = size
    long_edge = int(spec.resize_shortest * max(size) / min(size))
    return (spec.resize_shortest, long_edge) if width <= height else (long_edge, spec.resize_shortest)
