"""What a network is for. A task knows its head, what its labels name, and how it is judged (no torch here)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from .errors import BundleError, UsageError, did_you_mean

__all__ = [
    "CLASSIFY",
    "SEGMENT",
    "TASKS",
    "OutputKind",
    "Task",
    "TaskName",
    "Untrained",
    "find_task",
    "require_task",
    "task_named",
    "task_of",
]

TaskName = Literal["image-classification", "semantic-segmentation"]
OutputKind = Literal["scores", "mask"]


@dataclass(frozen=True)
class Untrained:
    """The usual image size (height, width), output stride and number of classes of a task's networks."""

    image_size: tuple[int, int]
    output_stride: int
    classes: int


@dataclass(frozen=True)
class Task:
    """One row of ``TASKS``.

    Attributes:
        name: as it is typed, ``--task segment``.
        manifest: as it is written into a manifest.
        network: what a checkpoint of it holds, in words.
        labelled: what each of the configuration's labels is a name for; None where there are no classes to label.
        last_layer: the module that gives one score for each label; its first part is the head.
        blocks: the head's blocks, by their modules.
        metric: by which a labelled set of images is judged.
        same: what is counted where two models are compared.
        suffix: of a bundle's and a bundled checkpoint's name.
        output_kinds: what its models can be made to put out; the first is the usual one.
        colored: whether a bundle has a color for each class.
        dense: whether the answer is a map that has to lie over the whole image, so that its size must fit.
        softmax: whether its scores are one, so that a network trained for other answers is refused.
        too_coarse: precisions in which no such network is any good.
        untrained: how the configuration of an untrained network differs from the architecture's classifier.
    """

    name: str
    manifest: TaskName
    network: str
    labelled: str | None
    last_layer: str
    blocks: tuple[str, ...]
    metric: str
    same: str
    suffix: str
    output_kinds: tuple[OutputKind, ...] = ("scores",)
    colored: bool = False
    dense: bool = False
    softmax: bool = False
    too_coarse: tuple[str, ...] = ()
    untrained: Untrained | None = None

    @property
    def head(self) -> str:
        return self.last_layer.split(".")[0]


CLASSIFY = Task(
    name="classify",
    manifest="image-classification",
    network="an image classifier",
    labelled="image",
    last_layer="classifier",
    blocks=("classifier",),
    metric="top-1",
    same="top-1 agreement",
    suffix="",
    softmax=True,
)
SEGMENT = Task(
    name="segment",
    manifest="semantic-segmentation",
    network="a segmentation network",
    labelled="pixel",
    last_layer="segmentation_head.classifier.convolution",
    blocks=("segmentation_head.aspp", "segmentation_head.classifier"),
    metric="mIoU",
    same="pixel agreement",
    suffix="-segment",
    output_kinds=("scores", "mask"),
    colored=True,
    dense=True,
    too_coarse=("full-int8",),
    untrained=Untrained(image_size=(512, 512), output_stride=16, classes=21),  # as PASCAL VOC's
)
TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in (CLASSIFY, SEGMENT)})


def find_task(name: str) -> Task:
    """The task called ``name``, or as the hub and manifests call it. Raises UsageError, naming near misses."""
    task = TASKS.get(name) or next((task for task in TASKS.values() if task.manifest == name), None)
    if task is None:
        raise UsageError(f"unknown task {name!r}; choose one of {', '.join(TASKS)}.{did_you_mean(name, TASKS)}")
    return task


def task_of(tensors: Iterable[str]) -> Task | None:
    """The task whose head is among the names of these tensors (Hugging Face naming); None for a bare backbone."""
    heads = {name.split(".")[0] for name in tensors}
    return next((task for task in TASKS.values() if task.head in heads), None)


def task_named(manifest: TaskName) -> Task:
    """The task that a manifest names so."""
    return next(task for task in TASKS.values() if task.manifest == manifest)


def require_task(wanted: Task, found: TaskName, bundle: object) -> None:
    """Raises BundleError where ``found``, the task that a bundle's manifest names, is not the one that is needed."""
    if found != wanted.manifest:
        held = task_named(found).network
        raise BundleError(
            f"{bundle} holds {held}, accepted here: {wanted.network}; mvit2 predict and mvit2.runtime.open_bundle "
            "take either."
        )
