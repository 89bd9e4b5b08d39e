"""The colours of classes: PASCAL VOC's where nobody chose others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["COLOR", "class_colors", "rgb_table", "voc_colors"]

COLOR: Final = re.compile(r"#[0-9a-f]{6}")
_BACKGROUNDS: Final = ("background", "other", "unlabeled", "void", "label_0")  # label_0: a network that names none


def class_colors(labels: Sequence[str]) -> tuple[str, ...]:
    """``"#rrggbb"`` for each class: VOC's, whose black is for a background; left out where the first class is none.

    An overlay shows no black class: it leaves the image there as it is.
    """
    first = 0 if labels and labels[0].lower() in _BACKGROUNDS else 1
    return voc_colors(len(labels) + first)[first:]


def voc_colors(classes: int) -> tuple[str, ...]:
    """``"#rrggbb"`` for each class: its bits, three at a time, are the highest bits of red, green and blue.

    The colour map of the VOC development kit (VOClabelcolormap.m); class 0, the background, is black.
    """
    return tuple(f"#{_spread(index):02x}{_spread(index >> 1):02x}{_spread(index >> 2):02x}" for index in range(classes))


def _spread(index: int) -> int:
    """Bits 0, 3, 6, ... of ``index`` as bits 7, 6, 5, ... of a byte."""
    return sum((index >> 3 * place & 1) << (7 - place) for place in range(8))


def rgb_table(colors: Sequence[str]) -> npt.NDArray[np.uint8]:
    """``"#rrggbb"`` of at most 256 classes -> uint8 [256, 3]; entries beyond them are VOC's."""
    import numpy as np  # the manifest needs the rest of this file without it

    every = [*colors, *voc_colors(256)[len(colors) :]]
    return np.frombuffer(bytes.fromhex("".join(color[1:] for color in every)), np.uint8).reshape(256, 3)
