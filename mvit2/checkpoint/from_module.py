"""A torch module in memory as a checkpoint: ours, transformers' or timm's. The module stays as it is."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvit2.errors import CheckpointError
from mvit2.image.preprocess_choice import NO_CHOICE, PreprocessChoice
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.network.architectures import find_variant, read_config, row_of
from mvit2.network.config import NetworkConfig
from mvit2.tasks import find_task, task_of

from .assemble import assemble, computed_as, task_found
from .beside_weights import assumed_preprocess
from .checkpoint import Checkpoint, Opened, Preprocess
from .config_from_tensors import bare_config
from .locate import called
from .tensor_names import architecture_of, to_hf_names, without_auxiliary_head

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["checkpoint_of"]

_NAME = "custom"
_TOLERANCE = 1e-3  # of the range of the logits; two implementations of one network differ by 1e-6 to 1e-5


def checkpoint_of(
    module: nn.Module,
    *,
    name: str | None = None,
    preprocess: PreprocessSpec | Mapping[str, object] | None = None,
    variant: str | None = None,
    labels: Path | None = None,
    task: str | None = None,
    choice: PreprocessChoice = NO_CHOICE,
) -> Checkpoint:
    """What ``module`` is, as mvit2.checkpoint.load.load_checkpoint gives it for a folder of that name.

    Args:
        module: a Network of ours, transformers' MobileViT(V2)ForImageClassification or ForSemanticSegmentation, timm's
            mobilevit or mobilevitv2. On any device, of any float type, in training or not; neither it nor its weights
            are changed.
        name: becomes a part of the bundle's name; None: "custom".
        preprocess: a PreprocessSpec, or the content of a preprocessor_config.json. None: that of the published
            checkpoints, with a warning.
        variant, labels, task, choice: as for load_checkpoint.

    Raises:
        UsageError: unknown task or variant.
        CheckpointError: another architecture, a configuration that cannot be honoured, a module that computes
            something else than its architecture does with its tensors. As load_checkpoint.
    """
    where = f"the {type(module).__name__} in memory"
    opened = _opened(module, where, name or _NAME, task)
    found = _preprocess(preprocess, opened, choice, where)
    wanted = find_variant(variant).name if variant is not None else None
    checkpoint = assemble(opened, called(name or _NAME), wanted, labels, found)
    _compare(module, checkpoint, where)
    return checkpoint


def _opened(module: nn.Module, where: str, name: str, asked: str | None) -> Opened:
    tensors: dict[str, Tensor] = {key: value.detach().cpu() for key, value in module.state_dict().items()}
    row, layout = architecture_of(tensors, where)
    tensors, _ = without_auxiliary_head(to_hf_names(tensors, layout, row))
    task = task_found(find_task(asked) if asked is not None else None, task_of(tensors), where)
    config = _config(getattr(module, "config", None), where)
    notes: tuple[str, ...] = ()
    if config is None:
        config, notes = bare_config(row, tensors, task, _published_name(module) or name, where)
        config = config.computed_as("transformers")  # of names of Hugging Face; of others, see computed_as
    return Opened(tensors, layout, task, computed_as(layout, config), notes, where)


def _config(said: Any, where: str) -> NetworkConfig | None:
    """What the module itself says: ours, or transformers' configuration; None: nothing."""
    if isinstance(said, NetworkConfig):
        return said
    if hasattr(said, "to_json_string"):
        return read_config(json.loads(said.to_json_string()), f"the configuration of {where}")
    return None


def _published_name(module: nn.Module) -> str:
    """timm's name of the weights, with their resolution in it."""
    said = getattr(module, "pretrained_cfg", None) or {}
    return f"{said.get('architecture', '')}.{said.get('tag', '')}" if isinstance(said, Mapping) else ""


def _preprocess(
    given: PreprocessSpec | Mapping[str, object] | None, opened: Opened, choice: PreprocessChoice, where: str
) -> Preprocess:
    if given is None:
        return assumed_preprocess(opened, choice, f"{where} does not say how images become its pixels")
    if isinstance(given, PreprocessSpec):
        return Preprocess(choice.on(given))
    as_in_a_file = json.loads(json.dumps(dict(given), default=str))  # an enum of Pillow's is a number there
    return Preprocess(PreprocessSpec.from_hf(choice.in_hf(as_in_a_file), "preprocess"))


def _compare(module: nn.Module, checkpoint: Checkpoint, where: str) -> None:
    """Names and shapes of tensors do not tell everything: another stride, another forward."""
    import torch

    edge = 2 * 32 * checkpoint.config.patch_size  # which patches tile at every stride: there, all implementations agree
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand((1, checkpoint.config.num_channels, edge, edge), generator=generator)
    with torch.no_grad():
        theirs = copy.deepcopy(module).cpu().float().eval()(pixels)
        ours = checkpoint.model(pixels)
    theirs = getattr(theirs, "logits", theirs)
    spread = float(ours.max() - ours.min())
    if theirs.shape != ours.shape or not float((theirs - ours).abs().max()) <= _TOLERANCE * max(spread, 1e-6):
        raise CheckpointError(
            f"{where} computes something else than {row_of(checkpoint.config).title} does with its tensors; a changed "
            "forward or output stride cannot be exported."
        )
