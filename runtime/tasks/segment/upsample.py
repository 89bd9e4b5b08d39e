"""From the network's answer back to the image: the class of every pixel, with little memory whatever the size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.image.placement import Axis, Placement

__all__ = ["classes_of_logits", "classes_of_mask"]

_COLUMNS = 4096  # of a tile at most
_VALUES = 2**22  # of a tile, all classes together: 16 MiB of float32


def classes_of_logits(logits: NDArray[np.float32], placement: Placement) -> NDArray[np.uint8]:
    """The winning class of every pixel that was seen; of equal logits the lower index wins.

    Logits are interpolated as torch.nn.functional.interpolate(mode="bilinear", align_corners=False) does it, which is
    what transformers' post_process_semantic_segmentation calls; here not for the whole image at once.

    Args:
        logits: float32 [h, w, classes], finite, over the network's input; at most 256 classes.

    Returns:
        uint8 [rows seen, columns seen].
    """
    height, width, classes = logits.shape
    by_row = logits.swapaxes(1, 2).reshape(height, classes * width)

    def tile(rows: slice, columns: slice) -> NDArray[np.uint8]:
        lines = (_weights(placement.rows, rows, height) @ by_row).reshape(-1, width)  # [rows * classes, w]
        grown = lines @ _weights(placement.columns, columns, width).T  # [rows * classes, columns]
        return _winners(grown.reshape(-1, classes, grown.shape[1]))

    return _tiled(placement, classes, tile)


def _winners(scores: NDArray[Any]) -> NDArray[np.uint8]:
    """[rows, classes, columns] -> uint8 [rows, columns]: argmax(1), which numpy takes three times as long for."""
    best = scores.max(1)
    found = np.zeros(best.shape, np.uint8)
    for index in reversed(range(scores.shape[1])):
        found[scores[:, index] == best] = index
    return found


def classes_of_mask(mask: NDArray[np.uint8], placement: Placement) -> NDArray[np.uint8]:
    """The class of every pixel that was seen: that of the network's pixel in which its middle lies.

    Args:
        mask: uint8 [H, W], of the network's input.

    Returns:
        uint8 [rows seen, columns seen].
    """

    def tile(rows: slice, columns: slice) -> NDArray[np.uint8]:
        return mask[placement.rows.nearest(rows)[:, None], placement.columns.nearest(columns)]

    return _tiled(placement, 1, tile)


def _tiled(placement: Placement, classes: int, tile: Callable[[slice, slice], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    rows, columns = placement.rows.seen, placement.columns.seen
    found = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    for some in _parts(columns, _COLUMNS):
        for few in _parts(rows, max(1, _VALUES // ((some.stop - some.start) * classes))):
            y, x = few.start - rows.start, some.start - columns.start
            found[y : y + few.stop - few.start, x : x + some.stop - some.start] = tile(few, some)
    return found


def _parts(whole: slice, length: int) -> Iterator[slice]:
    for start in range(whole.start, whole.stop, length):
        yield slice(start, min(start + length, whole.stop))


def _weights(axis: Axis, pixels: slice, cells: int) -> NDArray[np.float32]:
    """[pixels, cells]: how much of each cell of the network's answer is in each pixel of the image."""
    at = np.maximum(axis.on_network(pixels) * (cells / axis.network) - 0.5, 0)  # from the first cell's middle
    low = np.minimum(at.astype(np.intp), cells - 1)
    high = np.minimum(low + 1, cells - 1)
    share = np.minimum(at - low, 1)
    weights = np.zeros((len(at), cells), np.float32)
    every = np.arange(len(at))
    weights[every, low] = 1 - share
    weights[every, high] += share.astype(np.float32)
    return weights
