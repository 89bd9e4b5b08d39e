"""What was read of a checkpoint -> its network with the weights, or why there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mvit2.errors import CheckpointError
from mvit2.image.preprocess_spec import Layout
from mvit2.network.architectures import hub_id, row_of
from mvit2.network.config import NetworkConfig
from mvit2.regular_files import read_text
from mvit2.tasks import CLASSIFY, Task

from .checkpoint import Checkpoint, Opened, Preprocess
from .locate import Source

__all__ = ["assemble", "computed_as", "relabelled", "task_found"]


def assemble(
    opened: Opened, source: Source, variant: str | None, labels: Path | None, preprocess: Preprocess
) -> Checkpoint:
    """The network with its weights.

    Raises CheckpointError: another variant than ``variant``, labels or tensors that do not fit.
    """
    from .tensors import check_fit, fingerprint, outline, put_weights

    where = opened.where
    found, row = opened.config.variant_name, row_of(opened.config)
    if variant is not None and variant != found:
        raise CheckpointError(
            f"{where} holds {row.variant_noun} {found}, --variant says {variant}: correct it or leave it out."
        )
    _refuse_other_labels(opened)
    _refuse_other_answers(opened)
    config = relabelled(opened.config, labels)
    notes = (*([source.warning] if source.warning else []), *opened.notes, *preprocess.assumptions)
    if config.labels[0] == "LABEL_0":
        notes += (f"{where} does not name its classes: they are called LABEL_0 ... unless --labels FILE is given.",)
    check_fit(outline(lambda: row.build(opened.task, config)), opened.tensors, where)  # before it takes memory
    model = row.build(opened.task, config).eval()
    put_weights(model, opened.tensors)
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


def relabelled(config: NetworkConfig, file: Path | None) -> NetworkConfig:
    """``config`` with the names of a text file, one a line; blanks are squeezed, so that every name is one line."""
    names = config.labels
    if file is not None:
        try:
            names = tuple(read_text(file, "utf-8-sig").splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"--labels {file} cannot be read ({error}); give a text file in UTF-8.") from None
        if len(names) != config.num_labels:
            raise CheckpointError(
                f"--labels {file} has {len(names)} lines, the network {config.num_labels} classes; give one line each."
            )
        if not all(map(str.strip, names)):
            raise CheckpointError(f"--labels {file} has empty lines; give one class name a line.")
    return replace(config, labels=tuple(" ".join(name.split()) for name in names))


def _refuse_other_answers(opened: Opened) -> None:
    """A classifier's scores are a softmax; of one class it is always 1, and of independent ones it means nothing."""
    config = opened.config
    several = config.num_labels > 1
    if not opened.task.softmax or (several and config.problem_type == "single_label_classification"):
        return
    advice = (
        "only if it was trained with a softmax after all, set problem_type to single_label_classification in "
        "config.json: else its scores would be wrong"
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
