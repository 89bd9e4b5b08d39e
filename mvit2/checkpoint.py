"""A checkpoint opened: the network with its weights, its preprocessing and its identity."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CheckpointError
from .preprocess_spec import Layout, PreprocessSpec
from .sources import Source, locate
from .variant import ModelConfig, find_variant

if TYPE_CHECKING:
    from torch import Tensor

    from .model import MobileViTV2Classifier

__all__ = ["Checkpoint", "load_checkpoint"]

_MAX_JSON_BYTES = 16 << 20  # a config.json with 22,000 labels is 2 MB
_UNTRAINED_SEED = 2206


@dataclass(frozen=True)
class Checkpoint:
    """``model`` is in eval mode, float32, on the CPU; ``sha256`` is that of its tensors (mvit2.weights.fingerprint)."""

    model: MobileViTV2Classifier
    preprocess: PreprocessSpec
    variant: str
    name: str
    origin: str
    layout: Layout
    sha256: str
    warnings: tuple[str, ...] = ()

    @property
    def config(self) -> ModelConfig:
        return self.model.config


def load_checkpoint(weights: str = "auto", variant: str | None = None, labels: Path | None = None) -> Checkpoint:
    """Open what ``--weights`` and ``--variant`` name.

    Without ``variant`` it is what the checkpoint says, and 1.0 for the keywords; ``labels`` is a text file with one
    class name a line that replaces the checkpoint's names. Raises UsageError and
    CheckpointError; among the latter: another architecture, another width than ``variant``, tensors that do not fit.
    """
    variant = find_variant(variant).name if variant is not None else None
    source = locate(weights, variant or "1.0")
    if source.weights is None:
        return _untrained(source, variant or "1.0", labels)
    from .weights import layout_of, read_tensors, to_hf_names

    where = str(source.weights)
    described = _described(source)  # before its tensors: "this is a resnet" says more than "no such stem"
    tensors = read_tensors(source.weights)
    layout = layout_of(tensors, where)
    tensors = to_hf_names(tensors, layout)
    _refuse_segmentation(tensors, where)
    config = described or _from_shapes(source, tensors)
    found = _width_name(config.width_multiplier)
    if variant is not None and variant != found:
        raise CheckpointError(f"{where} holds width {found}, --variant says {variant}: correct it or leave it out.")
    _refuse_other_head(config, tensors, where)
    config = _relabelled(config, labels)
    notes = [source.warning] if source.warning else []
    if config.labels[0] == "LABEL_0":
        notes.append(f"{where} does not name its classes: they are called LABEL_0 ... unless --labels FILE is given.")
    return _assemble(config, tensors, _preprocess(source, config, layout), source, found, layout, tuple(notes))


def _assemble(
    config: ModelConfig,
    tensors: dict[str, Tensor],
    preprocess: PreprocessSpec,
    source: Source,
    variant: str,
    layout: Layout,
    notes: tuple[str, ...],
) -> Checkpoint:
    from .model import MobileViTV2Classifier
    from .weights import fingerprint, load_weights

    model = MobileViTV2Classifier(config).eval()
    load_weights(model, tensors, str(source.weights))
    sha256 = fingerprint(model.state_dict())
    return Checkpoint(model, preprocess, variant, source.name, source.origin, layout, sha256, notes)


def _relabelled(config: ModelConfig, file: Path | None) -> ModelConfig:
    """``config`` with the names of a text file, one a line; blanks are squeezed, so that every name is one line."""
    names = config.labels
    if file is not None:
        try:
            names = tuple(file.read_text(encoding="utf-8-sig").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"--labels {file} cannot be read ({error}); give a text file in UTF-8.") from None
        if len(names) != config.num_labels:
            raise CheckpointError(
                f"--labels {file} has {len(names)} lines, the network {config.num_labels} classes; give one line each."
            )
        if not all(map(str.strip, names)):
            raise CheckpointError(f"--labels {file} has empty lines; give one class name a line.")
    return replace(config, labels=tuple(" ".join(name.split()) for name in names))


def _untrained(source: Source, variant: str, labels: Path | None) -> Checkpoint:
    from .initialise import initialise
    from .model import MobileViTV2Classifier
    from .weights import fingerprint

    config = _relabelled(ModelConfig(width_multiplier=float(variant)), labels)
    model = MobileViTV2Classifier(config)
    initialise(model, _UNTRAINED_SEED)
    preprocess = PreprocessSpec.default(config.image_size, "huggingface")
    sha256 = fingerprint(model.state_dict())
    note = "these weights were never trained: good for measuring latency, the scores mean nothing."
    return Checkpoint(model.eval(), preprocess, variant, source.name, source.origin, "huggingface", sha256, (note,))


def _width_name(width: float) -> str:
    return f"{width:.1f}" if round(width, 1) == width else f"{width:g}"


def _described(source: Source) -> ModelConfig | None:
    """What config.json says, where there is one."""
    if source.config is None:
        return None
    content = _read_json(source.config)
    if "pretrained_cfg" in content:
        raise CheckpointError(
            f"{source.config} is a configuration of timm, which is not read; copy the weights to a file with a name of "
            "its own, such as mobilevitv2_100.safetensors, and give that FILE."
        )
    return ModelConfig.from_hf(content, str(source.config))


def _from_shapes(source: Source, tensors: dict[str, Tensor]) -> ModelConfig:
    stem, head = tensors["mobilevitv2.conv_stem.convolution.weight"], tensors.get("classifier.bias")
    if head is None:
        raise CheckpointError(f"{source.weights}: no classifier among its tensors, so this is not an image classifier.")
    if stem.ndim != 4 or head.ndim != 1 or not stem.numel() or not head.numel():
        shapes = f"a stem of {tuple(stem.shape)} and a head of {tuple(head.shape)}"
        raise CheckpointError(f"{source.weights}: {shapes} are not those of an image classifier.")
    labels = tuple(f"LABEL_{i}" for i in range(len(head)))
    config = ModelConfig(width_multiplier=stem.shape[0] / 32, num_channels=stem.shape[1], labels=labels)
    size = _size_from_name(source.name)
    return replace(config, image_size=(size, size)) if size else config


def _size_from_name(name: str) -> int | None:
    """timm and Apple write the resolution into the file's name: mobilevitv2_150_384_in22ft1k, mobilevitv2-1.0-384."""
    found = re.search(r"(?<!\d)(384|512)(?!\d)", name)
    return int(found[0]) if found else None


def _preprocess(source: Source, config: ModelConfig, layout: Layout) -> PreprocessSpec:
    if source.preprocessor is not None:
        return PreprocessSpec.from_hf(_read_json(source.preprocessor), str(source.preprocessor))
    return PreprocessSpec.default(config.image_size, layout)


def _refuse_segmentation(tensors: dict[str, Tensor], where: str) -> None:
    if any(name.startswith(("segmentation_head.", "seg_head.")) for name in tensors):
        raise CheckpointError(f"{where} is a segmentation checkpoint; this version exports image classifiers.")


def _refuse_other_head(config: ModelConfig, tensors: dict[str, Tensor], where: str) -> None:
    head = tensors.get("classifier.weight")
    if head is not None and head.ndim == 2 and head.shape[0] != config.num_labels:
        raise CheckpointError(
            f"{where}: the head has {head.shape[0]} classes, config.json says {config.num_labels}; correct that."
        )


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
