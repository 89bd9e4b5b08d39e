"""What a quantised network is, before any file format: numbers per layer, in the network's order, and no tensor names.

Whoever makes a plan (quantize/learn/search.py) and whoever writes it into a file (quantize/write/) share nothing else.
Layers are the convolutions and 1x1 layers; what lies between them stays float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mvit2.errors import ConversionError

__all__ = ["INSIDE", "OVER_IMAGES", "SIGMOID", "WEIGHT_FLOOR", "LayerPlan", "Mode", "Plan", "Range", "weight_scales"]

# int8: weights and activations; dynamic: int8 weights, inputs quantised when the model runs, outputs float32.
Mode = Literal["int8", "dynamic", "float"]
# What a percentile method covers: a share of each image's values, and then of the images by their own percentiles.
INSIDE = {"percentile 99.99": 0.9999, "percentile 99.97": 0.9997}
OVER_IMAGES = 0.98
_STEPS = 255  # of int8
_SMALLEST_RANGE = 1e-6
# A dead channel's weights are rounded with this share of its layer's largest scale: a scale of 1e-12 is one that
# XNNPACK refuses ("failed to create XNNPACK runtime") and then crashes on.
WEIGHT_FLOOR = 1e-3


@dataclass(frozen=True)
class Range:
    """The values that int8 covers; zero is always one of them, exactly. Raises ConversionError for NaN or Inf."""

    lo: float
    hi: float

    def __post_init__(self) -> None:
        if not np.isfinite([self.lo, self.hi]).all():
            raise ConversionError(
                f"an activation ranges over [{self.lo}, {self.hi}], accepted: finite numbers; the float model is "
                "broken on the calibration images: check the checkpoint."
            )
        lo, hi = min(self.lo, 0.0), max(self.hi, 0.0)
        object.__setattr__(self, "lo", lo)
        object.__setattr__(self, "hi", max(hi, lo + _SMALLEST_RANGE))

    @property
    def scale(self) -> float:
        return float(np.float32((self.hi - self.lo) / _STEPS))

    @property
    def zero_point(self) -> int:
        """For int8, -128..127; for uint8 add 128."""
        return int(np.clip(round(-128 - self.lo / self.scale), -128, 127))


SIGMOID = Range(0.0, 255 / 256)  # scale 1/256, zero-point -128: the only one that the int8 kernels accept


@dataclass(frozen=True)
class LayerPlan:
    """One convolution or 1x1 layer with what follows it.

    Attributes:
        name: its module in mvit2.network.mobilevitv2, such as "encoder.layer.0.layer.0.expand_1x1".
        mode: how it is computed.
        weight: float32 [out, in / groups, height, width], to be rounded to multiples of ``weight_scale``.
        weight_scale: float32 [out].
        bias: float32 [out].
        input: where the input comes from a float region.
        output: of the layer itself, before any activation function.
        activated: after SiLU, x * sigmoid(x); None without one.
        gain: float32 [out]; where given, SiLU is computed as x * sigmoid(gain * x) (see quantize/learn/search.py).
        gained: of gain * x.
        added: after the residual addition; None without one.
    """

    name: str
    mode: Mode
    weight: NDArray[np.float32]
    weight_scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    input: Range | None = None
    output: Range | None = None
    activated: Range | None = None
    gain: NDArray[np.float32] | None = None
    gained: Range | None = None
    added: Range | None = None

    @property
    def quantised_weight(self) -> NDArray[np.int8]:
        """int8, same shape, -127..127."""
        scale = self.weight_scale.astype(np.float64)[:, None, None, None]
        return np.clip(np.rint(self.weight / scale), -127, 127).astype(np.int8)


@dataclass(frozen=True)
class Plan:
    """``layers`` in the order in which the network computes them."""

    layers: tuple[LayerPlan, ...]

    @property
    def modes(self) -> Mapping[str, Mode]:
        return {layer.name: layer.mode for layer in self.layers}


def weight_scales(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scales [out] of symmetric int8 weights, per output channel; dead channels get their layer's floor."""
    largest = np.abs(weight).reshape(len(weight), -1).max(1)
    floored = np.maximum(largest, max(float(largest.max()) * WEIGHT_FLOOR, 1e-9))
    return np.asarray(floored / 127, np.float32)
