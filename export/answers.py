"""What an artifact of --io image makes of its network's logits, by task and kind of output."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from mvit2.tasks import CLASSIFY, SEGMENT, Task

__all__ = ["answer_of", "class_map", "map_of_logits", "probabilities"]


def probabilities(logits: Tensor) -> Tensor:  # (B, classes)
    return logits.softmax(-1)


def map_of_logits(logits: Tensor) -> Tensor:  # (B, classes, h, w) -> (B, h, w, classes)
    return logits.permute(0, 2, 3, 1)


def class_map(logits: Tensor, image_size: tuple[int, int]) -> Tensor:
    """(B, classes, h, w) -> uint8 (B, H, W): each pixel's class, after the resizing that transformers does."""
    full = F.interpolate(logits, size=image_size, mode="bilinear", align_corners=False)
    return full.argmax(1).byte()


def answer_of(task: Task, output_kind: str, image_size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """Raises KeyError for a kind that the task does not have (runtime.outputs.OUTPUTS)."""
    answers: dict[tuple[str, str], Callable[[Tensor], Tensor]] = {
        (CLASSIFY.name, "scores"): probabilities,
        (SEGMENT.name, "scores"): map_of_logits,
        (SEGMENT.name, "mask"): partial(class_map, image_size=image_size),
    }
    return answers[task.name, output_kind]
