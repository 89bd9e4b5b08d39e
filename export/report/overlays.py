"""Pictures of a report on segmentation: an image once, and over it what each artifact makes of it.

A view is a small PNG of colours that let the image through; the page lays it over the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvit2.image.decode import load_image
from mvit2.image.masks import NO_CLASS
from mvit2.image.palette import rgb_table
from mvit2.runtime.tasks.segment.result import Segmentation
from mvit2.runtime.tasks.segment.segmenter import Segmenter

from .task import Shown, Source, data_uri

__all__ = ["Album", "Scene", "View"]

Mask = NDArray[np.uint8]

_EDGE = 256  # pixels of an image in the page
_MOST_CLASSES = 8  # of an image, of each artifact
_LEAST = 0.0005  # of an image: a class with less is not named, it would be 0.0 %
_COVER = 140  # of 255: how much a class's colour covers the image
_NOT_SEEN: Final = (18, 20, 22, 190)  # RGBA, over what the network never sees
_SAME, _OTHER = (250, 250, 248, 150), (214, 0, 110, 255)  # of a view of differences


@dataclass(frozen=True)
class View:
    """Classes over an image, by an artifact or the truth; ``overlay`` and ``differs`` are images of the report.

    Shares are of the pixels that were seen: ``right`` with the true class, of those that count; ``same`` with
    float32's. None: not known, not compared.
    """

    name: str
    overlay: str
    right: float | None = None
    same: float | None = None
    differs: str | None = None


@dataclass(frozen=True)
class Scene:
    """An image and what is said of it; ``photo``: an image of the report.

    ``areas``: the classes, with shares of the whole image in the order of the views.
    """

    picture: str
    size: tuple[int, int]  # width, height
    photo: str
    seen: float
    views: tuple[View, ...]
    areas: tuple[Shown, ...]


class Album:
    """Makes the scenes of one bundle.

    Attributes:
        segmenters: name -> the artifact, opened.
        images: name -> data URI of all that the scenes show.
    """

    def __init__(self, source: Source) -> None:
        manifest, labels = source.manifest, source.labels
        self.segmenters = {a.file.path: Segmenter(manifest, a, labels, backend) for a, backend in source.models()}
        self.images: dict[str, str] = {}
        self._labels = labels
        self._plain = next((n for n, s in self.segmenters.items() if s.artifact.precision == "float32"), None)
        colors = rgb_table(manifest.colors)
        known = np.arange(256) < manifest.class_count
        painted = colors.any(1) & known  # not what is black, or a truth that is no class
        self._colors = np.hstack([colors, np.where(painted, _COVER, 0).astype(np.uint8)[:, None]])

    def scene(
        self, picture: str, path: Path, right: Mapping[str, float | None] | None = None, truth: Mask | None = None
    ) -> Scene:
        """``right``: of which artifacts, and how good they are; without it, of all.

        Raises ImageError; CheckFailed: an artifact answers NaN, Inf or a class that there is not.
        """
        image, known = load_image(path), right or {}
        found = {n: s.predict(image) for n, s in self.segmenters.items() if right is None or n in right}
        first, plain = next(iter(found.values())), found.get(self._plain or "")
        frame = _Frame.of(first)
        views = [] if truth is None else [View("truth", self._classes("truth", picture, frame, truth))]
        for name, answer in found.items():
            view = View(name, self._classes(name, picture, frame, answer.mask), known.get(name))
            if plain is not None and answer is not plain:
                differs = self._differences(name, picture, frame, plain.mask != answer.mask)
                view = replace(view, same=_same(plain, answer), differs=differs)
            views.append(view)
        photo = self._kept(f"photo of {picture}", frame.photo(image))
        shares = [{area.index: area.share for area in answer.classes} for answer in found.values()]
        shares = shares if truth is None else [_shares(truth, len(self._labels)), *shares]
        return Scene(picture, image.size, photo, first.seen, tuple(views), _areas(shares, self._labels))

    def _classes(self, name: str, picture: str, frame: _Frame, mask: Mask) -> str:
        return self._kept(f"{name} on {picture}", frame.png(self._colors[frame.shrunk(mask)]))

    def _differences(self, name: str, picture: str, frame: _Frame, other: NDArray[np.bool_]) -> str:
        colors = np.array([_SAME, _OTHER], np.uint8)[frame.shrunk(other).astype(np.uint8)]
        return self._kept(f"differences of {name} on {picture}", frame.png(colors))

    def _kept(self, name: str, uri: str) -> str:
        self.images[name] = uri
        return name


@dataclass(frozen=True)
class _Frame:
    """An image made smaller: which of its rows and columns stay, and which of their pixels the network saw."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    seen: NDArray[np.bool_]

    @classmethod
    def of(cls, found: Segmentation) -> _Frame:
        scale = min(1.0, _EDGE / max(found.mask.shape))
        rows, columns = (_middles(edge, max(1, round(edge * scale))) for edge in found.mask.shape)
        left, top, right, bottom = found.box
        seen = ((top <= rows) & (rows < bottom))[:, None] & (left <= columns) & (columns < right)
        return cls(rows, columns, seen)

    def photo(self, image: Image.Image) -> str:
        size = (len(self.columns), len(self.rows))
        return data_uri(image.resize(size, Image.Resampling.LANCZOS), quality=70)

    def shrunk(self, mask: NDArray[Any]) -> NDArray[Any]:
        return mask[np.ix_(self.rows, self.columns)]

    def png(self, pixels: NDArray[np.uint8]) -> str:
        """``pixels``: RGBA of this frame. Few colours, which a palette holds in a third of the bytes."""
        shown = np.where(self.seen[..., None], pixels, np.array(_NOT_SEEN, np.uint8))
        colors, indices = np.unique(shown.reshape(-1, 4), axis=0, return_inverse=True)
        if len(colors) > 256:  # every class there can be, and something that was not seen
            return data_uri(Image.fromarray(shown), "PNG", optimize=True)
        image = Image.fromarray(indices.reshape(self.seen.shape).astype(np.uint8))
        image.putpalette(colors.tobytes(), "RGBA")
        return data_uri(image, "PNG", optimize=True)


def _middles(edge: int, count: int) -> NDArray[np.int64]:
    """``count`` of ``edge`` pixels, evenly."""
    return (2 * np.arange(count, dtype=np.int64) + 1) * edge // (2 * count)


def _same(plain: Segmentation, answer: Segmentation) -> float | None:
    left, top, right, bottom = plain.box
    equal = (plain.mask == answer.mask)[top:bottom, left:right]
    return float(equal.mean()) if equal.size else None


def _shares(truth: Mask, classes: int) -> dict[int, float]:
    """Class -> its share of the image; what has no class has no share."""
    counts = np.bincount(truth.ravel(), minlength=256)[: min(classes, NO_CLASS)]
    return {int(index): float(counts[index]) / truth.size for index in counts.nonzero()[0]}


def _areas(shares: Sequence[Mapping[int, float]], labels: Sequence[str]) -> tuple[Shown, ...]:
    """The classes that are among the largest of any view, in the order of the first."""
    largest = {i for of in shares for i in sorted(of, key=lambda i: -of[i])[:_MOST_CLASSES] if of[i] >= _LEAST}
    order = sorted(largest, key=lambda index: (-shares[0].get(index, 0.0), index))
    return tuple(Shown(i, labels[i], tuple(of.get(i, 0.0) for of in shares)) for i in order)
