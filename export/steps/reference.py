"""What the plain torch model says of the parity images, which every later stage is held against."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from mvit2.export.request import ExportRequest

from .parity_inputs import Answers, varied_inputs
from .stages import Build, Reference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mvit2.checkpoint.load import Checkpoint

__all__ = ["reference_of"]


def reference_of(build: Build) -> Reference:
    """Choose the images and run the network on them in float64; warns where it says the same of all of them."""
    import torch

    from mvit2.export.convert.contract import answer_of
    from mvit2.image.preprocess import to_pixel_values

    checkpoint, spec, output = build.checkpoint, build.card.preprocess, build.output
    chosen = varied_inputs(spec, _own_images(build.request), _answers_of(checkpoint))
    values = torch.from_numpy(to_pixel_values(chosen.images.pixels, spec))
    answer = answer_of(checkpoint.task, build.request.output_kind, spec.image_size)
    with torch.no_grad():
        exact = answer(copy.deepcopy(checkpoint.model).double()(values.double()))
        plain = answer(checkpoint.model(values).double())
    scores, float32 = (found.numpy().astype(output.dtype) for found in (exact, plain))
    difference = output.compare("torch, float32", scores, float32, output.tolerances["float32"])
    same = None if checkpoint.name == "untrained" else chosen.same
    if same is not None:
        build.listener.warn(same)
    return Reference(chosen.images, output, scores, difference, same)


def _own_images(request: ExportRequest) -> Path | None:
    """The user's folder, from which images are chosen that the network tells apart."""
    named = (request.calibration, request.evaluation)
    return next((Path(folder) for folder in named if folder is not None and Path(folder).is_dir()), None)


def _answers_of(checkpoint: Checkpoint) -> Answers:
    """Of each image the class, or the classes of its pixels."""
    import torch

    from mvit2.image.preprocess import to_pixel_values

    def answers(pixels: NDArray[np.uint8]) -> list[tuple[int, ...]]:
        found = []
        with torch.no_grad():
            for image in pixels:
                logits = checkpoint.model(torch.from_numpy(to_pixel_values(image, checkpoint.preprocess)))
                found.append(tuple(logits[0].argmax(0).unique().tolist()))
        return found

    return answers
