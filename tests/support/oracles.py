"""Networks of the same architecture that other people wrote, holding weights that we choose.

Test files reach this module through the fixture ``oracles``.
"""

from __future__ import annotations

import copy
import enum
import functools
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    MobileViTConfig,
    MobileViTForImageClassification,
    MobileViTForSemanticSegmentation,
    MobileViTV2Config,
    MobileViTV2ForImageClassification,
    MobileViTV2ForSemanticSegmentation,
)

from mvit2.network.architectures import read_config, row_of
from mvit2.network.config import NetworkConfig
from mvit2.network.deeplabv3 import Segmenter
from mvit2.network.initialise import initialise
from mvit2.network.network import Classifier
from mvit2.tasks import CLASSIFY, SEGMENT

torch.set_num_threads(1)  # these networks are small: on a busy machine threads that wait for each other cost tenfold

TIMM_NAMES = {
    "0.5": "mobilevitv2_050",
    "1.0": "mobilevitv2_100",
    "2.0": "mobilevitv2_200",
    "xx-small": "mobilevit_xxs",
    "x-small": "mobilevit_xs",
    "small": "mobilevit_s",
}
TRANSFORMERS: dict[str, tuple[Any, Any, Any]] = {  # configuration, classifier, segmenter
    "mobilevit": (MobileViTConfig, MobileViTForImageClassification, MobileViTForSemanticSegmentation),
    "mobilevitv2": (MobileViTV2Config, MobileViTV2ForImageClassification, MobileViTV2ForSemanticSegmentation),
}


def named(count: int) -> dict[str, str]:
    return {str(index): f"class {index}" for index in range(count)}


def pictures(batch: int, size: int | tuple[int, int], channels: int = 3, seed: int = 7) -> Tensor:
    """Smooth random pictures of random tints in 0..1, float32 (batch, channels, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((batch, channels, 5, 5), generator=generator)
    tint = torch.rand((batch, channels, 1, 1), generator=generator)
    return F.interpolate(coarse * tint, size=size, mode="bicubic").clamp(0, 1)


def seeded(config: NetworkConfig, seed: int = 1) -> Any:
    """An initialised network in which nothing is left at 0 or 1, so that no term of a formula can drop out."""
    return copy.deepcopy(_seeded(config, seed))


@functools.lru_cache(maxsize=4)
@torch.no_grad()
def _seeded(config: NetworkConfig, seed: int) -> Classifier:
    model = row_of(config).build(CLASSIFY, config)
    assert isinstance(model, Classifier)
    initialise(model, seed)
    disturb(model.eval(), seed)
    model.classifier.bias -= model(pictures(4, 128, config.num_channels)).mean(0)  # else it hides the pictures
    return model


@torch.no_grad()
def disturb(model: nn.Module, seed: int) -> None:
    """Noise on every vector: biases, the affine parts and the statistics of all norms (variances stay positive)."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if tensor.ndim == 1 and tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.mul_(0.8 + 0.4 * noise)
            if name.endswith(("bias", "mean")):
                tensor.add_(0.2 * torch.rand(tensor.shape, generator=generator) - 0.1)


def hugging_face(fields: dict[str, Any], architecture: str = "mobilevitv2") -> tuple[Any, Any]:
    """Ours and transformers' network for the same configuration: transformers writes it, we read it.

    Our state dict is loaded into theirs strictly.
    """
    configuration, classifier, _ = TRANSFORMERS[architecture]
    with torch.device("meta"):  # spares their initialisation; every tensor comes from ours
        theirs = classifier(configuration(**fields)).eval()
    ours = seeded(read_config(json.loads(theirs.config.to_json_string()), "config.json"))
    theirs.to_empty(device="cpu").load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def segmenter(config: NetworkConfig, seed: int = 1) -> Any:
    """As ``seeded``, with a segmentation head."""
    return copy.deepcopy(_segmenter(config, seed))


@functools.lru_cache(maxsize=4)
@torch.no_grad()
def _segmenter(config: NetworkConfig, seed: int) -> Segmenter:
    model = row_of(config).build(SEGMENT, config)
    assert isinstance(model, Segmenter)
    initialise(model, seed)
    disturb(model.eval(), seed)
    last = model.segmentation_head.classifier.convolution
    assert last.bias is not None
    last.weight *= 5  # logits as far apart as trained ones: a loss near log(classes) would tell little
    last.bias -= model(pictures(4, 128, config.num_channels)).mean((0, 2, 3))
    return model


def hugging_face_segmenter(fields: dict[str, Any], architecture: str = "mobilevitv2") -> tuple[Any, Any]:
    """As ``hugging_face``, for transformers' segmentation network."""
    configuration, _, segmentation = TRANSFORMERS[architecture]
    with torch.device("meta"):
        theirs = segmentation(configuration(**fields)).eval()
    ours = segmenter(read_config(json.loads(theirs.config.to_json_string()), "config.json"))
    theirs.to_empty(device="cpu").load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def saved_segmenter(folder: Path) -> MobileViTV2ForSemanticSegmentation:
    """A small one of transformers' with lively weights, which saves itself in ``folder``."""
    fields = {
        "width_multiplier": 0.5,
        "image_size": 128,
        "output_stride": 16,
        "aspp_out_channels": 24,
        "atrous_rates": [2, 4, 6],
        "id2label": {0: "background", 1: "bee", 2: "cat"},
    }
    _, theirs = hugging_face_segmenter(fields)
    theirs.save_pretrained(folder)
    return theirs


@torch.no_grad()
def timm_network(variant: str, classes: int = 40, output_stride: int = 32) -> nn.Module:
    """timm's network with its own seeded initialisation, the statistics of its BatchNorms settled and disturbed."""
    torch.manual_seed(3)
    build = getattr(timm_mobilevit(), TIMM_NAMES[variant])
    network: nn.Module = build(num_classes=classes, output_stride=output_stride)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(pictures(8, 128))
    disturb(network.eval(), 5)
    network.get_submodule("head.fc").weight.mul_(20)  # timm's head starts with a standard deviation of 0.01
    return network


def gap(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the range of the expected values."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / (theirs.max() - theirs.min()))


def assert_varied(logits: Tensor, share: float = 0.01) -> None:
    """Between pictures and between classes; two networks that say nothing would be equal, too."""
    spread = logits.max() - logits.min()
    assert spread > 10 * share
    assert logits.std(0).mean() > share * spread, "the pictures look alike"
    assert logits.std(1).mean() > share * spread, "the classes look alike"


class _Never:
    """A name of torchvision that timm needs at import; it must not be used."""

    def __init__(self, *_: object, **__: object) -> None:
        raise AssertionError("the stand-in for torchvision was called")


class _Interpolation(enum.Enum):
    NEAREST, BILINEAR, BICUBIC, BOX, HAMMING, LANCZOS = range(6)


_DATASETS = ("CIFAR100", "CIFAR10", "MNIST", "KMNIST", "FashionMNIST", "ImageFolder")
_STAND_IN: dict[str, dict[str, object]] = {
    "torchvision": {},
    "torchvision.datasets": dict.fromkeys(_DATASETS, _Never),
    "torchvision.ops": {},
    "torchvision.ops.misc": {"FrozenBatchNorm2d": _Never},
    "torchvision.transforms": {"ToTensor": _Never},
    "torchvision.transforms.functional": {"InterpolationMode": _Interpolation},
}


def timm_mobilevit() -> ModuleType:
    """timm's real network. Only while timm is imported, a stand-in gives it the names it wants of torchvision.

    No released torchvision works beside the CPU build of torch that these tests run with. timm's models want it
    for an isinstance() and its data loaders for base classes; none of it runs in a forward pass (see ``_Never``).
    """
    absent = [name for name in _STAND_IN if name not in sys.modules]
    for name in absent:
        module = sys.modules[name] = ModuleType(name)
        vars(module).update(_STAND_IN[name])
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    try:
        import timm.models.mobilevit as mobilevit
    finally:
        for name in absent:
            del sys.modules[name]
    return mobilevit
