"""Which values every tensor of a float32 TFLite file takes: what quantize/write/tflite_full_int8.py needs to know.

quantize/learn/ranges.py observes the layers of a torch network; here the file itself is run, so that tensors need no
names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from mvit2.errors import ConversionError
from mvit2.quantize.plan import INSIDE, OVER_IMAGES, Range
from mvit2.tflite_file import read_tflite

__all__ = ["DEFAULT_METHOD", "METHODS", "tensor_ranges"]

_FLOAT = schema.TensorType.FLOAT32
_ENOUGH = 1 << 16  # values of one image from which a percentile is taken; larger maps are sampled evenly


class _Extremes:
    """Of every float32 activation and image: least and largest value, and percentiles of both ends."""

    def __init__(self, file: Path) -> None:
        model = read_tflite(file)
        graph = model.subgraphs[0]
        outputs = [int(t) for op in graph.operators for t in op.outputs]
        self.tensors = [t for t in outputs if graph.tensors[t].type == _FLOAT]
        self._interpreter = Interpreter(
            str(file),
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        (entry,) = self._interpreter.get_input_details()
        if entry["dtype"] != np.uint8:
            raise ConversionError(f"{file} takes {np.dtype(entry['dtype'])}, accepted: uint8; export with --io image.")
        self._input = entry["index"]

    def table(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, tensors, 1 + len(INSIDE), 2]"""
        return np.stack([self._row(picture) for picture in pixels])

    def _row(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(self._input, picture[None])
        self._interpreter.invoke()
        return np.array([_ends(self._interpreter.get_tensor(t)) for t in self.tensors], np.float32)


def _ends(values: NDArray[np.float32]) -> list[tuple[float, float]]:
    some = values.ravel()
    ends = [(float(some.min()), float(some.max()))]
    some = some[:: -(-some.size // _ENOUGH) | 1]  # an odd step meets every channel
    for share in INSIDE.values():
        count = max(1, round(some.size * (1 - share)))
        parted = np.partition(some, (count - 1, some.size - count))
        ends.append((float(parted[count - 1]), float(parted[some.size - count])))
    return ends


def _over_images(
    at: int, share: float
) -> Callable[[NDArray[np.float32]], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Column ``at`` of the table, and of the images the percentile ``share``."""

    def method(table: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return np.quantile(table[:, :, at, 0], 1 - share, axis=0), np.quantile(table[:, :, at, 1], share, axis=0)

    return method


# By the names of quantize/learn/ranges.py. Measured on a trained network of width 0.5: 2.0, 5.4 and 5.7 dB.
METHODS = {
    "min-max": _over_images(0, 1.0),
    **{name: _over_images(at, OVER_IMAGES) for at, name in enumerate(INSIDE, 1)},
}
DEFAULT_METHOD = "percentile 99.97"


def tensor_ranges(file: Path, pixels: NDArray[np.uint8], method: str = DEFAULT_METHOD) -> dict[int, Range]:
    """Run a float32 TFLite file over ``pixels`` [N, H, W, 3]: tensor -> range, of every activation.

    One image at a time, of which a few numbers are kept. Raises ConversionError for NaN or Inf, or another input.
    """
    extremes = _Extremes(file)
    low, high = METHODS[method](extremes.table(pixels))
    return {t: Range(float(a), float(b)) for t, a, b in zip(extremes.tensors, low, high, strict=True)}
