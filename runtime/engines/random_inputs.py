"""Inputs for any model, whatever it takes."""

from __future__ import annotations

import numpy as np

from mvit2.bundle.manifest import TensorFacts
from mvit2.errors import BundleError

from .backend import Array, Backend

__all__ = ["random_inputs"]


def random_inputs(model: Backend, seed: int = 0) -> list[Array]:
    """An array for each input, open dimensions as 1: floats in [0, 1), bytes of any value; wider integers are 0 or 1,
    since they may be indices. Raises BundleError for an input that holds no numbers.
    """
    random = np.random.default_rng(seed)
    return [_random(facts, random) for facts in model.inputs]


def _random(facts: TensorFacts, random: np.random.Generator) -> Array:
    shape = [1 if size is None else size for size in facts.shape]
    try:
        dtype = np.dtype(facts.dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind == "f":
        return random.random(shape).astype(dtype)
    if dtype.kind not in "iub":
        raise BundleError(f"input {facts.name!r} is {facts.dtype}, accepted: floats, integers, booleans.")
    if dtype.itemsize == 1 and dtype.kind != "b":
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return random.integers(0, 2, shape).astype(dtype)
