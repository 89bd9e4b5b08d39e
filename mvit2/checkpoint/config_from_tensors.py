"""A checkpoint without a config.json: its configuration from the shapes of its tensors and from its file's name."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mvit2.errors import CheckpointError
from mvit2.network.architecture import Architecture
from mvit2.network.config import MAX_CLASSES, NetworkConfig, numbered, require
from mvit2.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["bare_config"]


@dataclass(frozen=True)
class _Recipe:
    """What the tensors of a segmentation network do not tell, as Apple published it for a data set."""

    architecture: str
    classes: int
    channels: int | None  # of the head, where that tells two recipes apart
    name: str
    output_stride: int
    atrous_rates: tuple[int, int, int]

    def told_by(self) -> str:
        head = f" and {self.channels} channels" if self.channels else ""
        return f"{self.classes}{head} ({self.name})"

    def __str__(self) -> str:
        return f"output stride {self.output_stride} and atrous rates {list(self.atrous_rates)}"


# ml-cvnets config/segmentation/{pascal_voc,ade20k}/deeplabv3_mobilevit{,v2}.yaml; of the first version, that of its
# published networks (ml-cvnets 0.1) and the present one.
_RECIPES = (
    _Recipe("mobilevitv2", 21, None, "PASCAL VOC", 16, (6, 12, 18)),
    _Recipe("mobilevitv2", 150, None, "ADE20K", 8, (12, 24, 36)),
    _Recipe("mobilevit", 21, 256, "PASCAL VOC", 16, (6, 12, 18)),
    _Recipe("mobilevit", 21, 512, "PASCAL VOC", 8, (12, 24, 36)),
)
_SEGMENTATION_SIZE = 512  # of both


def bare_config(
    row: Architecture, tensors: dict[str, Tensor], task: Task, name: str, where: str
) -> tuple[NetworkConfig, tuple[str, ...]]:
    """The configuration, and notes on what had to be assumed for it.

    Args:
        row: whose tensors they are.
        tensors: in Hugging Face naming.
        name: of the checkpoint; a resolution in it is believed.
        where: the file, for messages.

    Raises:
        CheckpointError: no head for this task, shapes that are none of it, or a recipe that nobody published.
    """
    stem, head = tensors[f"{row.name}.conv_stem.convolution.weight"], tensors.get(f"{task.last_layer}.bias")
    if head is None:
        raise CheckpointError(f"{where}: no {task.last_layer} among its tensors, so this is not {task.network}.")
    if stem.ndim != 4 or head.ndim != 1 or not stem.numel() or not head.numel():
        shapes = f"a stem of {tuple(stem.shape)} and a head of {tuple(head.shape)}"
        raise CheckpointError(f"{where}: {shapes} are not those of {task.network}.")
    require(len(head) <= MAX_CLASSES, "the number of classes", len(head), f"at most {MAX_CLASSES}", where)
    labels = numbered(len(head))
    config = row.config.from_shapes({name: tuple(tensor.shape) for name, tensor in tensors.items()}, labels)
    untold = ", ".join(f"{name} {getattr(config, name)}" for name in config.untold)
    notes: tuple[str, ...] = (
        (f"{where} has no config.json: {untold} are taken as of the published networks.",) if untold else ()
    )
    if task.dense:
        config, more = _with_head(config, tensors, where)
        notes += more
    size = _size_from_name(name)
    return replace(config, image_size=(size, size)) if size else config, notes


def _with_head(config: NetworkConfig, tensors: dict[str, Tensor], where: str) -> tuple[NetworkConfig, tuple[str, ...]]:
    project = tensors.get("segmentation_head.aspp.project.convolution.weight")
    if project is None or project.ndim != 4:
        raise CheckpointError(f"{where}: a segmentation head without DeepLabV3's aspp.project; no other head is known.")
    channels, known = project.shape[0], [row for row in _RECIPES if row.architecture == config.architecture]
    fitting = [row for row in known if row.classes == config.num_labels and row.channels in (None, channels)]
    if not fitting:
        head = f" and a head of {channels} channels" if any(row.channels for row in known) else ""
        published = " or ".join(dict.fromkeys(map(_Recipe.told_by, known)))
        raise CheckpointError(
            f"{where}: its tensors do not tell the output stride and the atrous rates, and no published network has "
            f"{config.num_labels} classes{head}, only {published}; write both into a config.json beside it "
            "and give that FOLDER."
        )
    config = replace(
        config,
        image_size=(_SEGMENTATION_SIZE, _SEGMENTATION_SIZE),
        output_stride=fitting[0].output_stride,
        atrous_rates=fitting[0].atrous_rates,
        aspp_out_channels=channels,
    )
    return config, (f"{where} has no config.json: {fitting[0]} are taken from Apple's recipe for {fitting[0].name}.",)


def _size_from_name(name: str) -> int | None:
    """timm and Apple write the resolution into the file's name: mobilevitv2_150_384_in22ft1k, mobilevitv2-1.0-384."""
    found = re.search(r"(?<!\d)(384|512)(?!\d)", name)
    return int(found[0]) if found else None
