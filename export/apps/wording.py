"""What an app folder says of a bundle's task: a row for each kind of answer that a model gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mvit2.bundle.manifest import IO, Manifest
from mvit2.difference import Measure
from mvit2.runtime.tasks.outputs import output_of

__all__ = ["APP_TASKS", "AppTask", "app_task"]


@dataclass(frozen=True)
class AppTask:
    """One row of ``APP_TASKS``.

    Attributes:
        noun: what opens a model, in words; ``PLATFORM/NOUN.md.jinja`` is the README's example.
        type: its class, in every language.
        gives: what comes out of a model, by the bundle's ``io``.
        measure: what the tolerances of the golden vectors are of.
        same: how a quantised model's agreement with float32 is said: a ``{share}``, on which ``{pictures}``.
    """

    noun: str
    type: str
    gives: Mapping[IO, str]
    measure: str
    same: str


def _segmenter(gives: str, measure: str) -> AppTask:
    put = f"{gives}; the segmenter puts it on the image"
    either: dict[IO, str] = {"image": put, "tensor": put}
    same = "pixel agreement with float32 {share} on {pictures}"
    return AppTask("segmenter", "Mvit2Segmenter", either, measure, same)


APP_TASKS: Final[Mapping[Measure, AppTask]] = MappingProxyType(
    {
        "probabilities": AppTask(
            noun="classifier",
            type="Mvit2Classifier",
            gives={"image": "softmax probabilities", "tensor": "logits; the classifier makes probabilities of them"},
            measure="logarithms of probabilities",
            same="top-1 agreement with float32 {share} on {pictures}",
        ),
        "logits": _segmenter("a coarse map of every class's logits, over the input", "logits, by their range"),
        "masks": _segmenter("the class of every pixel of the input", "shares of an image's pixels"),
    }
)


def app_task(manifest: Manifest) -> AppTask:
    return APP_TASKS[output_of(manifest).name]
