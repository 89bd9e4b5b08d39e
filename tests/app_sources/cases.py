"""Calls of the sources for apps, as the drivers read them: ``_HEADER`` and the payload, little-endian."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvit2.image.preprocess_spec import PreprocessSpec

Array = np.ndarray[Any, Any]

PREPROCESS, PIXEL_VALUES, SOFTMAX, TOP_K, SHORT_OUTPUT, NO_PIXELS, UPRIGHT, DEGREES, PACKED, YUV, MANIFEST = range(11)
LOGITS_TO_PICTURE, MASK_TO_PICTURE = 11, 12  # mask_cases.py
LAYER, TASK = 13, 14  # the classes of a MASK_TO_PICTURE and their colours over the picture; a manifest for a task
FILTERS, ORDERS = ("bilinear", "bicubic"), ("RGB", "BGR")
SEED = 5
_HEADER = struct.Struct("<12id")


@dataclass(frozen=True)
class Case:
    """One call. ``fields`` are those of the header, and those of the spec under their own names."""

    name: str
    payload: Array
    fields: tuple[int | float, ...]

    def encoded(self) -> bytes:
        return _HEADER.pack(*self.fields) + self.payload.tobytes()


def make_case(name: str, payload: Array, spec: PreprocessSpec | None = None, **changes: Any) -> Case:
    """By default ``preprocess`` of a picture; ``changes`` make the impossible possible.

    What has no field of its own rides on another: k and degrees on ``width``, an EXIF orientation on ``shortest``,
    the strides of planes as ``planes`` says; ImageNet's mean and standard deviation of PIXEL_VALUES as 9 channels.
    """
    spec = spec or PreprocessSpec((8, 9), 10)
    height, width, channels = payload.shape if payload.ndim == 3 else (1, 1, 3)
    values = {
        "what": PREPROCESS,
        "width": width,
        "height": height,
        "channels": channels,
        "size": spec.image_size,
        "shortest": spec.resize_shortest or 0,
        "exact": spec.resize_exact or (0, 0),
        "resample": FILTERS.index(spec.resample),
        "order": ORDERS.index(spec.channel_order),
        "payload": payload.nbytes,
        "scale": spec.scale,
        **changes,
    }
    flat = [part for value in values.values() for part in (value if isinstance(value, tuple) else (value,))]
    return Case(name, payload, tuple(flat))


def planes(rows: tuple[int, int], step: int = 1, offsets: tuple[int, int] = (0, 0)) -> dict[str, Any]:
    """Bytes from row to row of the first plane and of the others, from value to value there, and where u, v begin."""
    return {"size": rows, "shortest": step, "exact": offsets}
