"""Whether two models that saw the same images differ in accuracy, or only by chance."""

from __future__ import annotations

import math

__all__ = ["paired_difference_interval"]


def paired_difference_interval(gained: int, lost: int, images: int) -> tuple[float, float]:
    """The 95 % interval of (share right of B) - (share right of A), of the same images.

    ``gained``: images that only B gets right; ``lost``: that only A does. Of images that both get right or wrong
    nothing follows. Wald's interval after half an image is added to each of the four cells (A. Agresti and Y. Min,
    2005), which holds for few images and for no difference at all.
    """
    n, b, c = images + 2, gained + 0.5, lost + 0.5
    difference = (b - c) / n
    spread = 1.959964 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    return max(-1.0, difference - spread), min(1.0, difference + spread)
