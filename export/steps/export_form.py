"""The network as it is converted: brought within float16, folded, with the contract of its input and output around."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from mvit2.errors import CheckFailed
from mvit2.export.formats import FORMATS
from mvit2.network.blocks import Block, beyond_float16

from .stages import Build, ExportForm, Reference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mvit2.checkpoint.load import Checkpoint

__all__ = ["export_form_of", "within_float16"]


def within_float16(checkpoint: Checkpoint, pixels: NDArray[np.uint8]) -> Checkpoint:
    """The same, scaled where the squares in its norms would be infinite in half precision; float32 keeps every bit.

    Args:
        pixels: uint8 RGB [N, H, W, 3], on which the norms' inputs are measured.
    """
    import torch

    from mvit2.export.convert.half_precision import scale_streams
    from mvit2.image.preprocess import to_pixel_values

    model = copy.deepcopy(checkpoint.model)
    scale_streams(model, torch.from_numpy(to_pixel_values(pixels, checkpoint.preprocess)))
    return replace(checkpoint, model=model)


def export_form_of(build: Build, fitted: Checkpoint, reference: Reference) -> ExportForm:
    """Of ``fitted``, the checkpoint within float16.

    Raises CheckFailed: float16 was asked for and cannot hold the network's values.
    """
    import torch

    from mvit2.export.convert.block_costs import network_blocks
    from mvit2.export.convert.contract import PixelContract, TensorContract, answer_of
    from mvit2.export.convert.fold import export_form
    from mvit2.export.convert.half_precision import largest_values
    from mvit2.image.preprocess import to_pixel_values

    request, output, spec = build.request, build.output, build.card.preprocess
    as_image, size, pixels = request.io == "image", spec.image_size, reference.images.pixels
    form = export_form(fitted.model, single_image=not request.dynamic_batch, image_size=size)
    answer = answer_of(fitted.task, request.output_kind, size)
    network = (PixelContract(form, spec, answer) if as_image else TensorContract(form, answer)).eval()
    inputs = torch.from_numpy(pixels if as_image else to_pixel_values(pixels, spec))
    with torch.no_grad(), largest_values(form) as largest:
        outputs = torch.cat([network(x[None]) for x in inputs])
    blocks = tuple(replace(block, largest=largest[block.name]) for block in network_blocks(fitted.model, size))
    _check_half_precision(build, blocks)
    scores = outputs.numpy() if as_image else output.of_network(outputs.numpy())
    difference = reference.compare("torch, export form", scores.astype(output.dtype), "float32")
    return ExportForm(network, torch.zeros_like(inputs[:1]), blocks, difference)


def _check_half_precision(build: Build, blocks: tuple[Block, ...]) -> None:
    """Raises CheckFailed where float16 was asked for and cannot hold the network's values."""
    said = beyond_float16(blocks)
    if said is None:
        return
    rows = [row for row in FORMATS.values() if row.name in build.request.formats]
    halved = [f"--format {row.name}" for row in rows if row.base == "float16"]
    halved += ["--quantize float16"] * any("float16" in build.request.quantised(row.name) for row in rows)
    if halved:
        raise CheckFailed(f"{said}: leave out {' and '.join(halved)}. No bundle was written.")
    build.listener.warn(f"{said}; the files are for CPUs: GPUs and NPUs that compute in float16 will be wrong.")
