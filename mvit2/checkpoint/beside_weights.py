"""The JSON files beside weights: what they say of the network and of its images, and what is assumed without them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mvit2.errors import CheckpointError
from mvit2.image.preprocess_choice import PreprocessChoice
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.architectures import read_config, row_of
from mvit2.network.config import NetworkConfig

from .checkpoint import Opened, Preprocess
from .locate import Source
from .timm_config import TimmConfig, is_timm, read_timm

__all__ = ["assumed_preprocess", "described", "preprocess_of"]

_MAX_JSON_BYTES = 16 << 20  # a config.json with 22,000 labels is 2 MB
_NORMALISED = (
    "{} says do_normalize, so its image_mean and image_std are applied. MobileViTImageProcessor of transformers never "
    "applies them: where the network was trained through that class, set do_normalize to false."
)


def described(source: Source) -> tuple[NetworkConfig | None, TimmConfig | None, tuple[str, ...]]:
    """What config.json says, where there is one, as Hugging Face or timm writes it; notes on what is not read."""
    if source.config is None:
        return None, None, ()
    content = _read_json(source.config)
    if is_timm(content):
        return None, read_timm(content, str(source.config)), ()
    config = read_config(content, str(source.config))
    unread = config.unread_fields(content)
    if not unread:
        return config, None, ()
    names = ", ".join(unread[:3]) + (", ..." if len(unread) > 3 else "")
    return config, None, (f"{source.config}: not read, the network does not use it: {names}.",)


def preprocess_of(source: Source, opened: Opened, choice: PreprocessChoice) -> Preprocess:
    """What a file says, with ``choice`` in its place where it says something; without a file, what is assumed."""
    if source.preprocessor is not None:
        return _of_file(source.preprocessor, choice)
    if opened.timm is not None:
        return Preprocess(choice.on(opened.timm.preprocess))
    return assumed_preprocess(opened, choice, f"{source.origin} comes without a preprocessor_config.json")


def _of_file(file: Path, choice: PreprocessChoice) -> Preprocess:
    """A preprocessor_config.json, or the part on images of a processor_config.json (transformers 5)."""
    content = _read_json(file)
    inner = content.get("image_processor", content.get("feature_extractor"))
    content = inner if isinstance(inner, dict) else content
    if is_timm(content):  # of transformers' TimmWrapper
        return Preprocess(choice.on(read_timm(content, str(file)).preprocess))
    spec = PreprocessSpec.from_hf(choice.in_hf(content), str(file))
    reduce = content.get("do_reduce_labels", content.get("reduce_labels"))
    return Preprocess(spec, (_NORMALISED.format(file),) if spec.normalises else (), reduce is True)


def assumed_preprocess(opened: Opened, choice: PreprocessChoice, why: str) -> Preprocess:
    """That of published checkpoints of this naming; the assumption says so, unless all of it was chosen."""
    size = opened.config.image_size
    spec = row_of(opened.config).default_preprocess(size, opened.layout)
    if opened.task.dense and opened.layout == "cvnets":  # stretched: image_augmentation.resize.size of its recipes
        spec = replace(spec, resize_shortest=None, resize_exact=size)
    spec = choice.on(spec)
    if choice.complete():
        return Preprocess(spec)
    said = f" (said: {', '.join(choice.given())})" if choice.given() else ""
    missing = [n for n in ("--channel-order", "--resize", "--crop", "--resample") if n not in choice.given()]
    note = (
        f"preprocessing is ASSUMED: {why}, so the network is given {spec.in_words()}{said}. If it was trained with "
        f"another one, it loses accuracy that no comparison with torch shows; find out with mvit2 audit on labelled "
        f"images, or say it: {' '.join(missing)}."
    )
    return Preprocess(spec, (note,))


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise CheckpointError(f"{path}: {path.stat().st_size} bytes, accepted are at most {_MAX_JSON_BYTES}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"{path}: not readable JSON ({error}).") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected an object, found {type(content).__name__}.")
    return content
