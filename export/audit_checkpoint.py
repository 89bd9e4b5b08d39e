"""The torch side of ``mvit2 audit``: a checkpoint asked by itself, and its preprocessor_config.json corrected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.atomic_write import write_text
from mvit2.checkpoint.load import Checkpoint
from mvit2.errors import CheckpointError, OutputError
from mvit2.image.preprocess import to_pixel_values
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime.audit.candidates import Subject

__all__ = ["PREPROCESSOR", "settings", "subject_of", "write_settings"]

PREPROCESSOR = "preprocessor_config.json"
_RESAMPLE_CODES = {"bilinear": 2, "bicubic": 3}  # PIL.Image.Resampling


def subject_of(checkpoint: Checkpoint) -> Subject:
    """The checkpoint's network in torch."""

    def answer(pixels: NDArray[np.uint8], spec: PreprocessSpec) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            logits = checkpoint.model(torch.from_numpy(to_pixel_values(pixels, spec)))
            return np.asarray(logits.softmax(-1).numpy())

    return Subject(checkpoint.name, checkpoint.config.labels, checkpoint.preprocess, answer)


def settings(before: PreprocessSpec, after: PreprocessSpec) -> dict[str, Any]:
    """What must be set in a preprocessor_config.json that says ``before`` for it to say ``after``."""
    old = _as_hf(before)
    return {key: value for key, value in _as_hf(after).items() if value != old[key]}


def write_settings(folder: Path, before: PreprocessSpec, after: PreprocessSpec) -> dict[str, Any]:
    """Correct the preprocessor_config.json of a checkpoint's folder, or write one where there is none.

    All other fields stay. The file is replaced at once. Returns what was set. Raises OutputError.
    """
    path = folder / PREPROCESSOR
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        changed = settings(before, after)
        if not _says(content | changed, after):  # it has said ``before`` in other words, or there is no file
            changed = {key: value for key, value in _as_hf(after).items() if content.get(key) != value}
        write_text(path, json.dumps(content | changed, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise OutputError(
            f"--set: {path} cannot be written ({error.strerror}) and is as it was; make {folder} writable, or set "
            f"{json.dumps(settings(before, after))} there by hand."
        ) from None
    return changed


def _as_hf(spec: PreprocessSpec) -> dict[str, Any]:
    """A whole preprocessor_config.json as ``PreprocessSpec.from_hf`` reads it."""
    height, width = spec.image_size
    exact = spec.resize_exact and {"height": spec.resize_exact[0], "width": spec.resize_exact[1]}
    normal = {"do_normalize": True, "image_mean": list(spec.mean), "image_std": list(spec.std)}
    return {
        "image_processor_type": "MobileViTImageProcessor",
        "do_resize": bool(exact or spec.resize_shortest),
        "size": exact or {"shortest_edge": spec.resize_shortest},
        "resample": _RESAMPLE_CODES[spec.resample],
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": spec.scale != 1,
        "rescale_factor": spec.scale,
        "do_flip_channel_order": spec.channel_order == "BGR",
        **(normal if spec.normalises else {}),
    }


def _says(content: dict[str, Any], spec: PreprocessSpec) -> bool:
    try:
        return PreprocessSpec.from_hf(content, PREPROCESSOR) == spec
    except CheckpointError:
        return False
