"""A checkpoint opened: the network with its weights, its preprocessing and its identity."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvit2.errors import CheckpointError
from mvit2.image.preprocess_choice import NO_CHOICE, PreprocessChoice
from mvit2.image.preprocess_spec import Layout, PreprocessSpec
from mvit2.network.architectures import (
    DEFAULT_VARIANT,
    Architecture,
    family_of,
    find_variant,
    hub_id,
    read_config,
    row_of,
)
from mvit2.network.config import NetworkConfig
from mvit2.tasks import CLASSIFY, Task, find_task, task_of

from .config_from_tensors import bare_config
from .locate import Source, locate
from .tensor_names import architecture_of, to_hf_names, without_auxiliary_head
from .timm_config import TimmConfig, is_timm, read_timm

if TYPE_CHECKING:
    from torch import Tensor

    from mvit2.network.network import Network

__all__ = [
    "Checkpoint",
    "Opened",
    "Preprocess",
    "assemble",
    "assumed_preprocess",
    "computed_as",
    "load_checkpoint",
    "task_found",
]

_MAX_JSON_BYTES = 16 << 20  # a config.json with 22,000 labels is 2 MB
_UNTRAINED_SEED = 2206
_NORMALISED = (
    "{} says do_normalize, so its image_mean and image_std are applied. MobileViTImageProcessor of transformers never "
    "applies them: where the network was trained through that class, set do_normalize to false."
)


@dataclass(frozen=True)
class Checkpoint:
    """``model`` is in eval mode, float32, on the CPU; ``sha256`` is that of its tensors (tensors.fingerprint).

    ``assumptions``: sentences on what nothing said and mvit2 had to assume; they are among the ``warnings``, too.
    ``reduce_labels``: its label maps count classes from 1, and 0 is no class (do_reduce_labels of transformers).
    """

    model: Network
    preprocess: PreprocessSpec
    variant: str
    name: str
    origin: str
    layout: Layout
    sha256: str
    warnings: tuple[str, ...] = ()
    task: Task = CLASSIFY
    assumptions: tuple[str, ...] = ()
    reduce_labels: bool = False

    @property
    def config(self) -> NetworkConfig:
        return self.model.config

    @property
    def architecture(self) -> Architecture:
        return row_of(self.config)


def load_checkpoint(
    weights: str = "auto",
    variant: str | None = None,
    labels: Path | None = None,
    task: str | None = None,
    *,
    weights_key: str | None = None,
    choice: PreprocessChoice = NO_CHOICE,
    arithmetic: str | None = None,
) -> Checkpoint:
    """Open what ``--weights``, ``--variant`` and ``--task`` name.

    Args:
        variant: None is what the checkpoint says, for the keywords 1.0 or, where no weights of it are at hand, another
            that comes with mvit2.
        labels: a text file with one class name a line that replaces the checkpoint's names.
        task: None is what the tensors are for.
        weights_key: which set of a training checkpoint that holds several, such as "model_state_dict".
        arithmetic: "transformers" or "ml-cvnets", whose code the network computes as where they differ
            (NetworkConfig.rules); None is the one that its tensors' names come from.
        choice: parts of the preprocessing that replace the checkpoint's.

    Raises:
        UsageError, CheckpointError: among the latter: another architecture, another variant than ``variant``, another
            head than that of ``task``, tensors that do not fit.
    """
    variant = find_variant(variant).name if variant is not None else None
    asked = find_task(task) if task is not None else None
    source = locate(weights, variant, asked or CLASSIFY)
    if source.weights is None:
        return _untrained(source, variant or DEFAULT_VARIANT, asked or CLASSIFY, labels, choice)
    opened = _open(source, asked, weights_key)
    if arithmetic is not None:
        opened = replace(opened, config=opened.config.computed_as(arithmetic))
    return assemble(opened, source, variant, labels, _preprocess(source, opened, choice))


@dataclass(frozen=True)
class Opened:
    """What a checkpoint holds, read.

    Attributes:
        tensors: in Hugging Face naming.
        layout: whose naming they came in.
        notes: what had to be assumed.
        where: what it is called in messages.
        timm: what a config.json of timm says, which has other things in it.
    """

    tensors: dict[str, Tensor]
    layout: Layout
    task: Task
    config: NetworkConfig
    notes: tuple[str, ...]
    where: str
    timm: TimmConfig | None = None


@dataclass(frozen=True)
class Preprocess:
    """How a checkpoint is given images; see Checkpoint for the others."""

    spec: PreprocessSpec
    assumptions: tuple[str, ...] = ()
    reduce_labels: bool = False


def assemble(
    opened: Opened, source: Source, variant: str | None, labels: Path | None, preprocess: Preprocess
) -> Checkpoint:
    """The network with its weights.

    Raises CheckpointError: another variant than ``variant``, labels or tensors that do not fit.
    """
    from .tensors import fingerprint, load_weights

    where = opened.where
    found, row = opened.config.variant_name, row_of(opened.config)
    if variant is not None and variant != found:
        raise CheckpointError(
            f"{where} holds {row.variant_noun} {found}, --variant says {variant}: correct it or leave it out."
        )
    _refuse_other_labels(opened)
    _refuse_other_answers(opened)
    config = _relabelled(opened.config, labels)
    notes = (*([source.warning] if source.warning else []), *opened.notes, *preprocess.assumptions)
    if config.labels[0] == "LABEL_0":
        notes += (f"{where} does not name its classes: they are called LABEL_0 ... unless --labels FILE is given.",)
    model = row.build(opened.task, config).eval()
    load_weights(model, opened.tensors, where)
    return Checkpoint(
        model,
        preprocess.spec,
        found,
        source.name,
        source.origin,
        opened.layout,
        fingerprint(model.state_dict()),
        notes,
        opened.task,
        preprocess.assumptions,
        preprocess.reduce_labels,
    )


def _open(source: Source, asked: Task | None, weights_key: str | None) -> Opened:
    from .tensors import read_weights

    assert source.weights is not None
    where = str(source.weights)
    config, timm, notes = _described(source)  # before its tensors: "this is a resnet" says more than "no such stem"
    tensors, chosen = read_weights(source.weights, weights_key)
    notes += chosen
    row, layout = architecture_of(tensors, where)
    tensors, dropped = without_auxiliary_head(to_hf_names(tensors, layout, row))
    task = task_found(asked, task_of(tensors), where)
    if config is None:
        config, more = bare_config(row, tensors, task, source.name, where)
        config = config.computed_as("transformers")  # of names of Hugging Face; of others, see computed_as
        notes += more
    if timm is not None:
        config = replace(config, image_size=timm.preprocess.image_size, labels=timm.labels or config.labels)
    if dropped:
        notes += (f"{where}: its auxiliary head ({dropped} tensors) is left out, it serves training alone.",)
    return Opened(tensors, layout, task, computed_as(layout, config), notes, where, timm)


def computed_as(layout: Layout, config: NetworkConfig) -> NetworkConfig:
    """``config`` with the arithmetic of the code that such names come from."""
    return config if layout == "huggingface" else config.computed_as("ml-cvnets")


def task_found(asked: Task | None, found: Task | None, where: str) -> Task:
    """What tensors are for. Raises CheckpointError where that is not what was ``asked`` for."""
    if asked and found and asked is not found:
        raise CheckpointError(
            f"{where} holds {found.network} ({found.head}.*), not {asked.network}: give --task {found.name}, or for "
            f"--task {asked.name} other weights, such as {hub_id(asked)}."
        )
    return found or asked or CLASSIFY


def _relabelled(config: NetworkConfig, file: Path | None) -> NetworkConfig:
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


def _untrained(source: Source, variant: str, task: Task, labels: Path | None, choice: PreprocessChoice) -> Checkpoint:
    from mvit2.network.initialise import initialise

    from .tensors import fingerprint

    row = family_of(variant)
    config = row.configure(find_variant(variant))
    if task.untrained is not None:
        usual = task.untrained
        labels_of_it = config.labels[: usual.classes]
        config = replace(config, image_size=usual.image_size, output_stride=usual.output_stride, labels=labels_of_it)
    model = row.build(task, _relabelled(config, labels))
    initialise(model, _UNTRAINED_SEED)
    preprocess = choice.on(row.default_preprocess(config.image_size, "huggingface"))
    sha256 = fingerprint(model.state_dict())
    notes = ("these weights were never trained: good for measuring latency, the scores mean nothing.",)
    return Checkpoint(model.eval(), preprocess, variant, source.name, source.origin, "huggingface", sha256, notes, task)


def _described(source: Source) -> tuple[NetworkConfig | None, TimmConfig | None, tuple[str, ...]]:
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


def _preprocess(source: Source, opened: Opened, choice: PreprocessChoice) -> Preprocess:
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


def _refuse_other_answers(opened: Opened) -> None:
    """A classifier's scores are a softmax; of one class it is always 1, and of independent ones it means nothing."""
    config = opened.config
    several = config.num_labels > 1
    if not opened.task.softmax or (several and config.problem_type == "single_label_classification"):
        return
    advice = (
        "for a softmax, set problem_type to single_label_classification"
        if several
        else "of a yes-or-no classifier trained with a sigmoid, save a head of two rows, zeros and yours: their "
        "softmax is that sigmoid"
    )
    raise CheckpointError(
        f"{opened.where}: problem_type is {config.problem_type!r} with {config.num_labels} output(s), accepted: "
        f"single_label_classification with 2 or more, whose softmax the scores of a bundle are; {advice}."
    )


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
