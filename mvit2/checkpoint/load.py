"""A checkpoint opened: the network with its weights, its preprocessing and its identity."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvit2.errors import CheckpointError
from mvit2.image.preprocess_spec import Layout, PreprocessSpec
from mvit2.network.architectures import MOBILEVITV2
from mvit2.network.mobilevitv2_config import ModelConfig, find_variant
from mvit2.tasks import CLASSIFY, SEGMENT, Task, find_task, task_of

from .config_from_tensors import bare_config
from .locate import Source, locate
from .tensor_names import layout_of, to_hf_names, without_auxiliary_head

if TYPE_CHECKING:
    from torch import Tensor

    from mvit2.network.mobilevitv2 import Network

__all__ = ["Checkpoint", "Opened", "assemble", "dilated_as", "load_checkpoint", "preprocess_of", "task_found"]

_MAX_JSON_BYTES = 16 << 20  # a config.json with 22,000 labels is 2 MB
_UNTRAINED_SEED = 2206


@dataclass(frozen=True)
class Checkpoint:
    """``model`` is in eval mode, float32, on the CPU; ``sha256`` is that of its tensors (tensors.fingerprint)."""

    model: Network
    preprocess: PreprocessSpec
    variant: str
    name: str
    origin: str
    layout: Layout
    sha256: str
    warnings: tuple[str, ...] = ()
    task: Task = CLASSIFY

    @property
    def config(self) -> ModelConfig:
        return self.model.config


def load_checkpoint(
    weights: str = "auto", variant: str | None = None, labels: Path | None = None, task: str | None = None
) -> Checkpoint:
    """Open what ``--weights``, ``--variant`` and ``--task`` name.

    Without ``variant`` it is what the checkpoint says, for the keywords 1.0 or, where no weights of it are at hand,
    another that comes with mvit2; without ``task`` it is what the
    tensors are for. ``labels`` is a text file with one class name a line that replaces the checkpoint's names. Raises
    UsageError and CheckpointError; among the latter: another architecture, another width than ``variant``, another
    head than that of ``task``, tensors that do not fit.
    """
    variant = find_variant(variant).name if variant is not None else None
    asked = find_task(task) if task is not None else None
    source = locate(weights, variant, asked or CLASSIFY)
    if source.weights is None:
        return _untrained(source, variant or "1.0", asked or CLASSIFY, labels)
    opened = _open(source, asked)
    return assemble(opened, source, variant, labels, _preprocess(source, opened))


@dataclass(frozen=True)
class Opened:
    """What a checkpoint holds, read.

    Attributes:
        tensors: in Hugging Face naming.
        layout: whose naming they came in.
        notes: what had to be assumed.
        where: what it is called in messages.
    """

    tensors: dict[str, Tensor]
    layout: Layout
    task: Task
    config: ModelConfig
    notes: tuple[str, ...]
    where: str


def assemble(
    opened: Opened, source: Source, variant: str | None, labels: Path | None, preprocess: PreprocessSpec
) -> Checkpoint:
    """The network with its weights.

    Raises CheckpointError: another width than ``variant``, labels or tensors that do not fit.
    """
    from .tensors import fingerprint, load_weights

    where = opened.where
    found = _width_name(opened.config.width_multiplier)
    if variant is not None and variant != found:
        raise CheckpointError(f"{where} holds width {found}, --variant says {variant}: correct it or leave it out.")
    _refuse_other_labels(opened)
    config = _relabelled(opened.config, labels)
    notes = (*([source.warning] if source.warning else []), *opened.notes)
    if config.labels[0] == "LABEL_0":
        notes += (f"{where} does not name its classes: they are called LABEL_0 ... unless --labels FILE is given.",)
    model = MOBILEVITV2.build(opened.task, config).eval()
    load_weights(model, opened.tensors, where)
    sha256 = fingerprint(model.state_dict())
    return Checkpoint(model, preprocess, found, source.name, source.origin, opened.layout, sha256, notes, opened.task)


def _open(source: Source, asked: Task | None) -> Opened:
    from .tensors import read_tensors

    assert source.weights is not None
    where = str(source.weights)
    config = _described(source)  # before its tensors: "this is a resnet" says more than "no such stem"
    tensors = read_tensors(source.weights)
    layout = layout_of(tensors, where)
    tensors, dropped = without_auxiliary_head(to_hf_names(tensors, layout))
    task = task_found(asked, task_of(tensors), where)
    notes: tuple[str, ...] = ()
    if config is None:
        config, notes = bare_config(tensors, task, source.name, where)
    if dropped:
        notes += (f"{where}: its auxiliary head ({dropped} tensors) is left out, it serves training alone.",)
    return Opened(tensors, layout, task, dilated_as(layout, config), notes, where)


def dilated_as(layout: Layout, config: ModelConfig) -> ModelConfig:
    """``config`` with the dilation of the code that such names come from (see ModelConfig)."""
    others = layout != "huggingface" and config.output_stride < 32
    return replace(config, dilation_rule="ml-cvnets") if others else config


def task_found(asked: Task | None, found: Task | None, where: str) -> Task:
    """What tensors are for. Raises CheckpointError where that is not what was ``asked`` for."""
    if asked and found and asked is not found:
        raise CheckpointError(
            f"{where} holds {found.network} ({found.head}.*), not {asked.network}: give --task {found.name}, or for "
            f"--task {asked.name} other weights, such as {asked.hub_id()}."
        )
    return found or asked or CLASSIFY


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


def _untrained(source: Source, variant: str, task: Task, labels: Path | None) -> Checkpoint:
    from mvit2.network.initialise import initialise

    from .tensors import fingerprint

    config = ModelConfig(width_multiplier=float(variant))
    if task is SEGMENT:
        config = replace(config, image_size=(512, 512), output_stride=16, labels=config.labels[:21])  # as PASCAL VOC's
    model = MOBILEVITV2.build(task, _relabelled(config, labels))
    initialise(model, _UNTRAINED_SEED)
    preprocess = PreprocessSpec.default(config.image_size, "huggingface")
    sha256 = fingerprint(model.state_dict())
    notes = ("these weights were never trained: good for measuring latency, the scores mean nothing.",)
    return Checkpoint(model.eval(), preprocess, variant, source.name, source.origin, "huggingface", sha256, notes, task)


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


def _preprocess(source: Source, opened: Opened) -> PreprocessSpec:
    if source.preprocessor is not None:
        return PreprocessSpec.from_hf(_read_json(source.preprocessor), str(source.preprocessor))
    return preprocess_of(opened)


def preprocess_of(opened: Opened) -> PreprocessSpec:
    """That of checkpoints which bring none."""
    size = opened.config.image_size
    spec = PreprocessSpec.default(size, opened.layout)
    if opened.task is SEGMENT and opened.layout == "cvnets":  # stretched: image_augmentation.resize.size of its recipes
        return replace(spec, resize_shortest=None, resize_exact=size)
    return spec


def _refuse_other_labels(opened: Opened) -> None:
    last = opened.tensors.get(f"{opened.task.last_layer}.weight")
    if last is not None and last.ndim and len(last) != opened.config.num_labels:
        raise CheckpointError(
            f"{opened.where}: the head has {len(last)} classes, config.json says {opened.config.num_labels}; "
            "correct that."
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
