"""All widths as values of a parameter; ``make test`` takes the smaller ones."""

from __future__ import annotations

import pytest

from mvit2.network.mobilevitv2_config import VARIANTS

__all__ = ["WIDTHS"]

WIDTHS = [pytest.param(name, marks=pytest.mark.heavy) if float(name) > 1 else name for name in VARIANTS]
