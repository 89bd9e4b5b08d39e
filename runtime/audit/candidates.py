"""The likely preprocessings of a checkpoint of this family, and what a network says of labelled images in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import Manifest, read_labels, read_manifest
from mvit2.errors import BundleError, CheckFailed, ImageError, MissingEngineError
from mvit2.image.decode import load_image
from mvit2.image.preprocess import preprocess
from mvit2.image.preprocess_spec import ChannelOrder, PreprocessSpec, Resample
from mvit2.metrics.fidelity import SMALLEST_PROBABILITY
from mvit2.runtime.engines.backend import Backend
from mvit2.runtime.machine import usable_cores
from mvit2.runtime.tasks.bundle_model import open_artifact, scores_of
from mvit2.tasks import CLASSIFY, require_task

__all__ = ["AXES", "Answer", "Measured", "Subject", "changes", "measure", "open_subject", "variants"]

Answer = Callable[[NDArray[np.uint8], PreprocessSpec], NDArray[np.float32]]
"""uint8 RGB [N, H, W, 3], to be ordered and scaled as the spec says -> softmax probabilities [N, classes]."""

_SCALE = 1 / 255  # of the whole family: ml-cvnets trains on pixels of 0 to 1
AXES = {
    "channel order": ("channel_order",),
    "resize": ("resize_shortest", "resize_exact"),
    "filter": ("resample",),
    "scale": ("scale",),
}


@dataclass(frozen=True)
class Subject:
    """What is audited: class names, the preprocessing it is configured with, how to ask it (by several threads).

    ``any_scale``: False where the scale of pixels is part of the model file, so that no other can be tried.
    """

    name: str
    labels: tuple[str, ...]
    preprocess: PreprocessSpec
    answer: Answer
    any_scale: bool = True


@dataclass(frozen=True)
class Measured:
    """Of each readable image and variant [images, variants]: is it right, and log p of the true class."""

    hits: NDArray[np.bool_]
    log_probability: NDArray[np.float64]
    unreadable: dict[Path, str]  # image -> why

    def __post_init__(self) -> None:
        if self.hits.shape != self.log_probability.shape or self.hits.ndim != 2 or not self.hits.size:
            raise ValueError(f"hits {self.hits.shape} and log-probabilities {self.log_probability.shape} do not fit.")


# ---- the variants ----


def variants(configured: PreprocessSpec, any_scale: bool = True) -> tuple[PreprocessSpec, ...]:
    """The configured preprocessing first, then all others: channel orders x resizes x filters (x scales).

    Resizes of the shortest edge: to the network's size; in proportion 288 to 256 (ml-cvnets, timm); size + 32
    (transformers). And the squashed image. A scale other than 1/255 is tried beside that one.
    """
    edge = max(configured.image_size)
    resizes: list[tuple[int | None, tuple[int, int] | None]] = [
        (configured.resize_shortest, configured.resize_exact),
        *((shortest, None) for shortest in (edge, round(edge * 288 / 256), edge + 32)),
        (None, configured.image_size),
    ]
    scales = (configured.scale, _SCALE) if any_scale else (configured.scale,)
    found = [configured]
    for scale, order, resize, resample in product(scales, get_args(ChannelOrder), resizes, get_args(Resample)):
        kept = configured.resample if resize == (None, None) else resample  # nothing to filter
        found.append(
            replace(
                configured,
                resize_shortest=resize[0],
                resize_exact=resize[1],
                resample=kept,
                channel_order=order,
                scale=scale,
            )
        )
    return tuple(dict.fromkeys(found))


def changes(one: PreprocessSpec, other: PreprocessSpec) -> list[str]:
    """In which settings two differ, such as ["channel order", "filter"]."""
    different = {f.name for f in fields(PreprocessSpec) if getattr(one, f.name) != getattr(other, f.name)}
    return [axis for axis, names in AXES.items() if different & set(names)]


# ---- measuring ----


def open_subject(bundle: Path) -> Subject:
    """A bundle on its first float32 artifact whose engine is installed.

    Raises BundleError: no bundle, damaged, or without float32; MissingEngineError.
    """
    manifest = read_manifest(bundle)
    require_task(CLASSIFY, manifest.task, bundle)
    labels, spec, missing = read_labels(bundle, manifest), manifest.preprocess, None
    for artifact in (a for a in manifest.artifacts if a.precision == "float32"):
        try:
            answer = _asking(open_artifact(bundle, manifest, artifact, 1), manifest)
        except MissingEngineError as error:
            missing = missing or error
            continue
        return Subject(f"{bundle}/{artifact.file.path}", labels, spec, answer, manifest.io == "tensor")
    held = ", ".join(artifact.file.path for artifact in manifest.artifacts)
    raise missing or BundleError(f"{bundle} has no float32 artifact to audit, only {held}; export it again with one.")


def _asking(backend: Backend, manifest: Manifest) -> Answer:
    """An artifact that takes pixels orders and scales them itself, always the same way: it is given swapped ones."""

    def answer(pixels: NDArray[np.uint8], spec: PreprocessSpec) -> NDArray[np.float32]:
        if manifest.io == "image" and spec.channel_order != manifest.preprocess.channel_order:
            pixels = np.ascontiguousarray(pixels[..., ::-1])
        return scores_of(backend, manifest.io, spec, pixels)

    return answer


def measure(
    subject: Subject,
    specs: Sequence[PreprocessSpec],
    pictures: Sequence[tuple[Path, int]],
    advance: Callable[[int], None] = lambda pictures: None,
) -> Measured:
    """Ask about every image (with the index of its class) in every preprocessing, one image for each core.

    Raises ImageError: none of the images can be read; CheckFailed: an answer is NaN or Inf.
    """

    def scores(picture: tuple[Path, int]) -> NDArray[np.float32] | ImageError:
        try:
            return _scores(subject, specs, picture[0])
        except ImageError as error:
            return error

    hits, logs, unreadable = [], [], {}
    with ThreadPoolExecutor(usable_cores()) as pool:
        for (path, label), found in zip(pictures, pool.map(scores, pictures), strict=True):
            if isinstance(found, ImageError):
                unreadable[path] = str(found)
            else:
                hits.append(found.argmax(-1) == label)
                logs.append(np.log(np.maximum(found[:, label].astype(np.float64), SMALLEST_PROBABILITY)))
            advance(1)
    if not hits:
        path, reason = next(iter(unreadable.items()))
        raise ImageError(f"none of the {len(pictures)} images can be read; the first: {reason}")
    return Measured(np.array(hits), np.array(logs), unreadable)


def _scores(subject: Subject, specs: Sequence[PreprocessSpec], path: Path) -> NDArray[np.float32]:
    """Probabilities [variants, classes]. The image is decoded once, equal pixels are asked about once.

    So variants that an image cannot tell apart (of a square one, squashing and cropping) tie to the last digit.
    """
    image = load_image(path)
    pixels = {cut: preprocess(image, cut) for cut in dict.fromkeys(map(_cut, specs))}
    different = {cut.tobytes(): cut for cut in pixels.values()}
    places = {content: place for place, content in enumerate(different)}
    batch = np.stack(list(different.values()))
    inside = {(spec.channel_order, spec.scale): spec for spec in specs}
    answers = {key: subject.answer(batch, spec) for key, spec in inside.items()}
    found = np.stack([answers[s.channel_order, s.scale][places[pixels[_cut(s)].tobytes()]] for s in specs])
    if not np.isfinite(found).all():
        raise CheckFailed(
            f"{subject.name} returned NaN or Inf for {str(path)!r}; the weights are damaged: use another checkpoint."
        )
    return found


def _cut(spec: PreprocessSpec) -> PreprocessSpec:
    """The part of a preprocessing that decides about the RGB pixels."""
    return replace(spec, channel_order="RGB", scale=_SCALE)
