"""A checkpoint opened: the network with its weights, its preprocessing and its identity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mvit2.image.preprocess_choice import NO_CHOICE, PreprocessChoice
from mvit2.network.architectures import DEFAULT_VARIANT, family_of, find_variant
from mvit2.tasks import CLASSIFY, Task, find_task, task_of

from .assemble import assemble, computed_as, relabelled, task_found
from .beside_weights import described, preprocess_of
from .checkpoint import Checkpoint, Opened
from .config_from_tensors import bare_config
from .locate import Source, locate
from .tensor_names import architecture_of, to_hf_names, without_auxiliary_head

__all__ = ["Checkpoint", "load_checkpoint"]

_UNTRAINED_SEED = 2206


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
    return assemble(opened, source, variant, labels, preprocess_of(source, opened, choice))


def _open(source: Source, asked: Task | None, weights_key: str | None) -> Opened:
    from .tensors import read_weights

    assert source.weights is not None
    where = str(source.weights)
    config, timm, notes = described(source)  # before its tensors: "this is a resnet" says more than "no such stem"
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


def _untrained(source: Source, variant: str, task: Task, labels: Path | None, choice: PreprocessChoice) -> Checkpoint:
    from mvit2.network.initialise import initialise

    from .tensors import fingerprint

    row = family_of(variant)
    config = row.configure(find_variant(variant))
    if task.untrained is not None:
        usual = task.untrained
        labels_of_it = config.labels[: usual.classes]
        config = replace(config, image_size=usual.image_size, output_stride=usual.output_stride, labels=labels_of_it)
    model = row.build(task, relabelled(config, labels))
    initialise(model, _UNTRAINED_SEED)
    preprocess = choice.on(row.default_preprocess(config.image_size, "huggingface"))
    sha256 = fingerprint(model.state_dict())
    notes = ("these weights were never trained: good for measuring latency, the scores mean nothing.",)
    return Checkpoint(model.eval(), preprocess, variant, source.name, source.origin, "huggingface", sha256, notes, task)
