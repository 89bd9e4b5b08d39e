"""What goes into an artifact and what comes out, around the network: pixels or the bare input, and its answer.

The answer is made of the network's logits, by task and kind of output.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvit2.errors import ConversionError
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.network import Network
from mvit2.tasks import CLASSIFY, SEGMENT, Task

__all__ = ["PixelContract", "TensorContract", "answer_of", "class_map", "map_of_logits", "probabilities"]


def probabilities(logits: Tensor) -> Tensor:  # (B, classes)
    return logits.softmax(-1)


def map_of_logits(logits: Tensor) -> Tensor:  # (B, classes, h, w) -> (B, h, w, classes)
    return logits.permute(0, 2, 3, 1)


def class_map(logits: Tensor, image_size: tuple[int, int]) -> Tensor:
    """(B, classes, h, w) -> uint8 (B, H, W): each pixel's class, after the resizing that transformers does."""
    full = F.interpolate(logits, size=image_size, mode="bilinear", align_corners=False)
    return full.argmax(1).byte()


def answer_of(task: Task, output_kind: str, image_size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """Raises KeyError for a kind that the task does not have (runtime.tasks.outputs.OUTPUTS)."""
    answers: dict[tuple[str, str], Callable[[Tensor], Tensor]] = {
        (CLASSIFY.name, "scores"): probabilities,
        (SEGMENT.name, "scores"): map_of_logits,
        (SEGMENT.name, "mask"): partial(class_map, image_size=image_size),
    }
    return answers[task.name, output_kind]


class PixelContract(nn.Module):
    """The artifact contract around an export form: uint8 RGB (B, H, W, 3) -> what ``answer`` makes of the logits.

    Takes ``network`` over (its stem is rewritten). Raises ConversionError for a network that does not take 3 channels.
    """

    def __init__(
        self, network: Network, spec: PreprocessSpec, answer: Callable[[Tensor], Tensor] = probabilities
    ) -> None:
        super().__init__()
        stem = network.backbone.conv_stem.convolution
        if stem.in_channels != 3:
            raise ConversionError(f"images have 3 channels, this network takes {stem.in_channels}: use --io tensor.")
        weight = stem.weight.double()
        if spec.channel_order == "BGR":
            weight = weight.flip(1)
        std = torch.tensor(spec.std, dtype=torch.float64)[:, None, None]
        weight = weight * spec.scale if not spec.normalises else weight * spec.scale / std
        # The pixel that normalisation makes 0 is subtracted in the graph: folded into the stem's bias it would be wrong
        # along two edges, where the stem reads padding.
        zero = torch.tensor(spec.mean, dtype=torch.float64) / spec.scale
        self.zero: Tensor | None
        self.register_buffer("zero", zero.float() if any(spec.mean) else None)
        stem.weight = nn.Parameter(weight.float(), requires_grad=False)
        self.network, self.answer = network, answer

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.float() if self.zero is None else image.float() - self.zero
        return self.answer(self.network(pixels.permute(0, 3, 1, 2)))


class TensorContract(nn.Module):
    """The bare network: its own input -> logits of a classifier, else what ``answer`` makes of them."""

    def __init__(self, network: Network, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.answer = network, answer

    def forward(self, pixel_values: Tensor) -> Tensor:
        logits: Tensor = self.network(pixel_values)
        return logits if self.answer is probabilities else self.answer(logits)
