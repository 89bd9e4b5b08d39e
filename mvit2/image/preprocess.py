"""The only preprocessing: image -> RGB -> resize -> centre crop -> uint8 pixels.

The pixels are those of Hugging Face's MobileViT image processor (its PIL backend), bit for bit. Integers are
what crosses every boundary, because floats are where platforms begin to differ.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from mvit2.errors import ImageError

from .decode import MAX_PIXELS, ImageSource, describe, load_image
from .placement import Placement
from .preprocess_spec import PreprocessSpec

__all__ = ["preprocess", "preprocess_placed", "to_pixel_values"]

_FILTERS: Final = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def preprocess(source: ImageSource, spec: PreprocessSpec) -> npt.NDArray[np.uint8]:
    """Turn an image into the network's input: ``Placement`` says sizes and crop; outside the image are zeros.

    Returns:
        uint8 ``[height, width, 3]``, C-contiguous, always RGB. Channel order and scale are not applied: that
        happens inside the exported graph, or in ``to_pixel_values`` for the bare network.

    Raises:
        ImageError: the image cannot be read, or is so long and thin that its resize exceeds ``MAX_PIXELS``.
    """
    return preprocess_placed(source, spec)[0]


def preprocess_placed(source: ImageSource, spec: PreprocessSpec) -> tuple[npt.NDArray[np.uint8], Placement]:
    """As ``preprocess``, and where on the upright image these pixels lie."""
    image = load_image(source)
    placement = Placement.of(image.size, spec)
    width, height = placement.resized
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{describe(source)} is too long and thin ({image.width}x{image.height} would be resized to "
            f"{width}x{height}); accepted: at most {MAX_PIXELS} pixels after the resize; crop it first"
        )
    image = _resize(image, placement.resized, _FILTERS[spec.resample])
    return np.array(image.crop(placement.crop)), placement


def _resize(image: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
    """Pillow's antialiased resize, one axis after the other.

    Pixels are rounded in between, so the order shows in them, and Pillow's has changed from version to version: this is
    Pillow 13's (Image.resize), with the pixels of any.
    """
    fewer_columns, fewer_rows = image.width - size[0], image.height - size[1]
    rows_first = fewer_rows > 0 and fewer_rows > 2 * fewer_columns
    halfway = (image.width, size[1]) if rows_first else (size[0], image.height)
    return image.resize(halfway, resample).resize(size, resample)


def to_pixel_values(pixels: npt.NDArray[np.uint8], spec: PreprocessSpec) -> npt.NDArray[np.float32]:
    """Order and scale pixels for the bare network (``--io tensor``).

    Args:
        pixels: uint8 RGB ``[H, W, 3]`` or ``[N, H, W, 3]``, as ``preprocess`` makes them.
        spec: says the channel order, the scale, mean and standard deviation.

    Returns:
        float32 ``[N, 3, H, W]``, C-contiguous; ``(pixel * scale - mean) / std`` is computed in float64 and rounded
        once, so the numbers are those of transformers' ``pixel_values``.

    Raises:
        ImageError: another dtype or shape.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3:
        raise ImageError(
            f"{describe(pixels)} cannot be pixels; accepted: uint8 [H, W, 3] or [N, H, W, 3]; "
            "make them with preprocess()"
        )
    batch = pixels if pixels.ndim == 4 else pixels[None]
    ordered = batch[..., ::-1] if spec.channel_order == "BGR" else batch
    order = (2, 1, 0) if spec.channel_order == "BGR" else (0, 1, 2)
    values = (np.arange(256)[:, None] * spec.scale - np.array(spec.mean)) / np.array(spec.std)
    seen = values.astype(np.float32)[:, order]  # [256, 3], one entry for each value of a pixel
    return np.ascontiguousarray(np.stack([seen[ordered[..., c], c] for c in range(3)], axis=1))
