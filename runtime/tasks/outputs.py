"""What a model file says of an image, one row for each kind: its form, and when two of them are equal.

Everything else that differs between a classifier and a segmentation network in the runtime is its last step, in
classifier.py and segmenter.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mvit2.bundle.manifest import Artifact, Manifest, OutputKind, Precision
from mvit2.difference import Difference, Measure
from mvit2.errors import BundleError
from mvit2.image.placement import Axis, Placement
from mvit2.metrics.fidelity import SMALLEST_PROBABILITY
from mvit2.runtime.tasks.segment.upsample import classes_of_logits
from mvit2.tasks import CLASSIFY, SEGMENT, TaskName

from .compare import LOGIT_TOLERANCES, MASK_TOLERANCES, TOLERANCES, compare, compare_logits, compare_masks, log_softmax

__all__ = ["LOGITS", "MASKS", "OUTPUTS", "PROBABILITIES", "Output", "output_of"]

Array = NDArray[Any]
_STRIDES = (8, 16, 32)  # of a segmentation network: its input's size to its logits'


@dataclass(frozen=True)
class Output:
    """One row of ``OUTPUTS``.

    Attributes:
        name: what the numbers are, as a Difference calls it.
        dtype: of the model's output, and of golden files, whose names end in
        suffix.
        floor: a smaller number counts as this one when logarithms are compared; None where none are.
        shape: of the output for one image, by the manifest. Raises BundleError: an impossible one.
        of_network: what the bare network (``--io tensor``) returns -> what other artifacts do.
        of_logits: logits [N, classes] or [N, h, w, classes], and the network's (height, width) -> the same.
        sound: whether numbers can be the output of a network with so many classes; NaN never is.
        compare: stage, reference, candidate, tolerance -> Difference.
        tolerances: what is accepted of a precision.
    """

    name: Measure
    dtype: Literal["float32", "uint8"]
    suffix: str
    floor: float | None
    shape: Callable[[Manifest, Artifact], tuple[int, ...]]
    of_network: Callable[[Array], Array]
    of_logits: Callable[[Array, tuple[int, int]], Array]
    sound: Callable[[Array, int], bool]
    compare: Callable[[str, Array, Array, float], Difference]
    tolerances: Mapping[Precision, float]


def _logits_shape(manifest: Manifest, artifact: Artifact) -> tuple[int, ...]:
    """What the manifest says, which must be the map of one of the strides."""
    height, width = manifest.preprocess.image_size
    maps = [(-(-height // stride), -(-width // stride), manifest.class_count) for stride in _STRIDES]
    found = artifact.output.shape[1:]
    for shape in maps:
        if found == shape:
            return shape
    raise BundleError(
        f"the manifest says that {artifact.file.path} returns {list(found)}, accepted for {height}x{width} pixels: "
        f"{', '.join(str(list(shape)) for shape in maps)}. Export the bundle again."
    )


def _unchanged(outputs: Array) -> Array:
    return outputs


def _masks_of_logits(logits: Array, image_size: tuple[int, int]) -> Array:
    rows, columns = (Axis(edge, edge, edge) for edge in image_size)  # the network's input is the image
    return np.stack([classes_of_logits(scores, Placement(rows, columns)) for scores in logits])


PROBABILITIES = Output(
    name="probabilities",
    dtype="float32",
    suffix=".f32",
    floor=SMALLEST_PROBABILITY,
    shape=lambda manifest, _: (manifest.class_count,),
    of_network=lambda outputs: np.exp(log_softmax(outputs)),
    of_logits=lambda logits, _: np.exp(log_softmax(logits)),
    sound=lambda numbers, _: bool(((numbers >= 0) & (numbers <= 1)).all()),
    compare=compare,
    tolerances=TOLERANCES,
)
LOGITS = Output(
    name="logits",
    dtype="float32",
    suffix=".f32",
    floor=None,
    shape=_logits_shape,
    of_network=_unchanged,
    of_logits=lambda logits, _: logits,
    sound=lambda numbers, _: bool(np.isfinite(numbers).all()),
    compare=compare_logits,
    tolerances=LOGIT_TOLERANCES,
)
MASKS = Output(
    name="masks",
    dtype="uint8",
    suffix=".u8",
    floor=None,
    shape=lambda manifest, _: manifest.preprocess.image_size,
    of_network=_unchanged,
    of_logits=_masks_of_logits,
    sound=lambda numbers, classes: bool((numbers < classes).all()),
    compare=compare_masks,
    tolerances=MASK_TOLERANCES,
)
OUTPUTS: Mapping[tuple[TaskName, OutputKind], Output] = MappingProxyType(
    {
        (CLASSIFY.manifest, "scores"): PROBABILITIES,
        (SEGMENT.manifest, "scores"): LOGITS,
        (SEGMENT.manifest, "mask"): MASKS,
    }
)


def output_of(manifest: Manifest) -> Output:
    return OUTPUTS[manifest.task, manifest.output_kind]
