"""``mvit2 audit``: what labelled images say about the preprocessing that a checkpoint is configured with.

Published checkpoints of this family differ in channel order, filter and resize, and their configuration files do not
always say what the weights were trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.metrics.fidelity import confidence_interval

from .candidates import AXES, Measured, changes

__all__ = ["Audit", "Row", "judge"]

_FEWEST = 20  # images; a bootstrap of fewer calls too much real
_RESAMPLES, _CONFIDENCE, _SEED = 2000, 0.95, 4
_RESAMPLES_AT_ONCE = 50  # of 50,000 images: 20 MB


@dataclass(frozen=True)
class Row:
    """One preprocessing over all images; the last four figures compare it with the configured one."""

    preprocess: PreprocessSpec
    top1: int
    top1_interval: tuple[float, float]  # Wilson's, 95 %, of the share
    log_probability: float  # mean over the images, of the true class
    gain: float  # its difference, positive where this row is better
    gain_interval: tuple[float, float] | None  # 95 % for all pairs of rows at once; None: too few images
    gained: int  # images that only this row gets right
    lost: int  # images that only the configured one gets right
    possible: bool  # no other row is really better than this one


@dataclass(frozen=True)
class Audit:
    """``rows`` by top-1, then log-probability. ``certain`` and ``open``: what the images tell, and what not."""

    images: int
    rows: tuple[Row, ...]
    configured: PreprocessSpec
    winner: PreprocessSpec
    certain: tuple[str, ...]
    open: tuple[str, ...]

    @property
    def right(self) -> bool:
        """No variant is better than the configured one by a difference that is real."""
        return self.winner == self.configured

    def row(self, spec: PreprocessSpec) -> Row:
        return next(row for row in self.rows if row.preprocess == spec)


def judge(specs: Sequence[PreprocessSpec], measured: Measured) -> Audit:
    """Figures and verdict; ``specs[0]`` is the configured one.

    One row is *really* better than another where it has at least as many right answers and a higher mean
    log-probability by a difference whose interval, simultaneous for all pairs of rows, leaves out 0. Of the rows
    that none is really better than, the winner is the one that changes least: what the images do not tell stays
    as it is configured.
    """
    hits, means = measured.hits.sum(0), measured.log_probability.mean(0)
    images = len(measured.hits)
    margin = _margins(measured.log_probability)
    better = (hits[:, None] >= hits) & (means[:, None] - means > margin)  # [this, than that]
    order = sorted(range(len(specs)), key=lambda i: (-hits[i], -means[i], i))
    possible = [i for i in order if not better[:, i].any()]
    replacing = [i for i in possible if better[i, 0]] or [i for i in order if better[i, 0]]
    winner = 0 if 0 in possible else min(replacing, key=lambda i: len(changes(specs[i], specs[0])))
    rows = tuple(_row(specs[i], i, measured, float(margin[i, 0]), i in possible) for i in order)
    unsure = {axis for i in possible for axis in changes(specs[i], specs[winner])}
    tried = [axis for axis in AXES if any(axis in changes(spec, specs[0]) for spec in specs)]
    certain = tuple(axis for axis in tried if axis not in unsure)
    return Audit(images, rows, specs[0], specs[winner], certain, tuple(axis for axis in tried if axis in unsure))


def _row(spec: PreprocessSpec, i: int, measured: Measured, margin: float, possible: bool) -> Row:
    own, configured = measured.hits[:, i], measured.hits[:, 0]
    means = measured.log_probability.mean(0)
    top1, gain = int(own.sum()), float(means[i] - means[0])
    return Row(
        preprocess=spec,
        top1=top1,
        top1_interval=confidence_interval(top1, len(own)),
        log_probability=float(means[i]),
        gain=gain,
        gain_interval=(gain - margin, gain + margin) if np.isfinite(margin) else None,
        gained=int((own & ~configured).sum()),
        lost=int((configured & ~own).sum()),
        possible=possible,
    )


def _margins(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[images, rows] -> [rows, rows]: by how much two means must differ to do so really.

    A paired bootstrap of the largest of all standardised differences (P. H. Westfall, S. S. Young, Resampling-Based
    Multiple Testing, 1993): one critical value that holds for every pair, also for one that was picked for being
    the best. Infinite for fewer than 20 images.
    """
    images, rows = values.shape
    if images < _FEWEST:
        return np.full((rows, rows), np.inf)
    values = values - values.mean(0)
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    power = covariance.diagonal()
    error = np.sqrt(np.maximum(power[:, None] + power - 2 * covariance, 0) / images)
    safe = np.where(error > 1e-12, error, np.inf)  # of equal columns: never the largest
    draw, largest = np.random.default_rng(_SEED), []
    for _ in range(_RESAMPLES // _RESAMPLES_AT_ONCE):
        counts = draw.multinomial(images, np.full(images, 1 / images), _RESAMPLES_AT_ONCE)
        means = counts @ values / images
        largest.append((np.abs(means[:, :, None] - means[:, None]) / safe).max((1, 2)))
    return np.asarray(error * np.quantile(largest, _CONFIDENCE))
