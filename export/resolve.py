"""What a request exports: its checkpoint, held against the rest of the request, and what the models put out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mvit2.bundle.manifest import MAX_MASK_CLASSES
from mvit2.errors import ConversionError, UsageError
from mvit2.runtime.tasks.outputs import OUTPUTS, Output
from mvit2.tasks import TASKS

from .request import ExportRequest

if TYPE_CHECKING:
    from mvit2.checkpoint.load import Checkpoint

__all__ = ["bundle_name", "load", "output_of"]


def load(request: ExportRequest) -> Checkpoint:
    """The checkpoint with the image size that ``request`` asks for.

    Raises UsageError for options that are not for its task, and as mvit2.checkpoint.load.load_checkpoint does, for a
    module in memory as mvit2.checkpoint.from_module.checkpoint_of.
    """
    checkpoint = _opened(request)
    if checkpoint.config.num_channels != 3:
        channels = checkpoint.config.num_channels
        raise ConversionError(f"{checkpoint.origin} takes {channels} channels; a bundle takes RGB images.")
    spec = checkpoint.preprocess
    if request.image_size is not None:
        spec = spec.with_image_size(*request.image_size)
    for edge in spec.image_size:
        request.check_edge(edge)
    if checkpoint.task.dense:
        checkpoint.config.map_size(spec.image_size)
    _check_options(request, checkpoint)
    doubt = checkpoint.config.doubt_at(spec.image_size)
    return replace(checkpoint, preprocess=spec, warnings=(*checkpoint.warnings, *([doubt] if doubt else [])))


def _opened(request: ExportRequest) -> Checkpoint:
    weights, labels = request.weights, None if request.labels is None else Path(request.labels)
    if isinstance(weights, (str, Path)):
        from mvit2.checkpoint.load import load_checkpoint

        return load_checkpoint(
            str(weights),
            request.variant,
            labels,
            request.task,
            weights_key=request.weights_key,
            choice=request.choice,
            arithmetic=request.arithmetic,
        )
    from mvit2.checkpoint.from_module import checkpoint_of

    return checkpoint_of(
        weights,
        name=request.name,
        preprocess=request.preprocess,
        variant=request.variant,
        labels=labels,
        task=request.task,
        choice=request.choice,
    )


def _check_options(request: ExportRequest, checkpoint: Checkpoint) -> None:
    """Those that only some tasks have."""
    task, classes = checkpoint.task, checkpoint.config.num_labels
    held = f"{checkpoint.origin} holds {task.network}"
    if request.output_kind not in task.output_kinds:
        able = " or ".join(row.network for row in TASKS.values() if request.output_kind in row.output_kinds)
        raise UsageError(f"--output-kind {request.output_kind} is for {able}, {held}: leave it out.")
    if request.output_kind == "mask" and classes > MAX_MASK_CLASSES:
        accepted = f"accepted: at most {MAX_MASK_CLASSES}, as many as a byte has values"
        raise UsageError(f"--output-kind mask with {classes} classes, {accepted}: add --output-kind scores.")
    coarse = next((word for word in request.quantize or () if word in task.too_coarse), None)
    if coarse is not None:
        able = " or ".join(row.network for row in TASKS.values() if coarse not in row.too_coarse)
        raise UsageError(f"--quantize {coarse} is for {able}, {held}: choose int8.")


def output_of(request: ExportRequest, checkpoint: Checkpoint) -> Output:
    """What the models of this export put out."""
    return OUTPUTS[checkpoint.task.manifest, request.output_kind]


def bundle_name(request: ExportRequest, checkpoint: Checkpoint) -> str:
    """The identity of the weights and whatever changes the models' interface, so that no build takes the wrong one."""
    height, width = checkpoint.preprocess.image_size
    size = f"-{height}px" if height == width else f"-{height}x{width}px"
    suffix = checkpoint.task.suffix
    parts = [f"{checkpoint.architecture.name}-{checkpoint.variant}-{checkpoint.name.removesuffix(suffix)}{suffix}"]
    parts += [size] if request.image_size not in (None, checkpoint.config.image_size) else []
    parts += ["-mask"] if request.output_kind == "mask" else []
    parts += ["-tensor"] if request.io == "tensor" else []
    parts += ["-dynamic"] if request.dynamic_batch else []
    return "".join(parts)
