"""Example pictures of a report: which ones, what the network sees of them, what every artifact says."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvit2.dataset import find_images
from mvit2.errors import MissingEngineError
from mvit2.image import top_k
from mvit2.manifest import Manifest
from mvit2.runtime.artifact import open_artifact, scores_of

from .inputs import PHOTOS

__all__ = ["MOST_PICTURES", "Example", "Shown", "data_uri", "example_pictures", "examples"]

MOST_PICTURES = 12
_EDGE = 160  # pixels of a picture in the page


@dataclass(frozen=True)
class Shown:
    """A class and its probability by each artifact."""

    index: int
    label: str
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Example:
    """A picture, and every class that is among the best five of an artifact."""

    picture: str
    artifacts: tuple[str, ...]
    classes: tuple[Shown, ...]


def example_pictures(folder: Path | None) -> dict[str, Path]:
    """Name -> file: the bundled photographs, or at most 12 of ``folder``, spread over it. Raises UsageError."""
    if folder is None:
        return {photo.name: photo for photo in sorted(PHOTOS.glob("*.jpg"))}
    found = find_images(folder)
    count = min(MOST_PICTURES, len(found))
    chosen = [found[i * len(found) // count] for i in range(count)]
    return {path.relative_to(folder).as_posix(): path for path in chosen}


def examples(
    bundle: Path, manifest: Manifest, labels: tuple[str, ...], pixels: Mapping[str, NDArray[np.uint8]]
) -> tuple[Example, ...]:
    """The first float32 artifact and every one that is not float32; what has no engine here is left out."""
    names: list[str] = []
    scores: dict[str, list[NDArray[np.float32]]] = {picture: [] for picture in pixels}
    plain = next((a for a in manifest.artifacts if a.precision == "float32"), None)
    for artifact in manifest.artifacts:
        if artifact.precision == "float32" and artifact is not plain:
            continue
        try:
            backend = open_artifact(bundle, manifest, artifact, 1)
        except MissingEngineError:
            continue
        names.append(artifact.file.path)
        for picture, image in pixels.items():
            scores[picture].append(scores_of(backend, manifest.io, manifest.preprocess, image[None])[0])
    return tuple(Example(p, tuple(names), _shown(found, labels)) for p, found in scores.items() if found)


def _shown(scores: Sequence[NDArray[np.float32]], labels: tuple[str, ...]) -> tuple[Shown, ...]:
    """The classes among anybody's best five, in the order of the first artifact."""
    best = {prediction.index for found in scores for prediction in top_k(found, labels, 5)}
    order = sorted(best, key=lambda index: -scores[0][index])
    return tuple(Shown(i, labels[i], tuple(float(found[i]) for found in scores)) for i in order)


def data_uri(pixels: NDArray[np.uint8]) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((_EDGE, _EDGE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
