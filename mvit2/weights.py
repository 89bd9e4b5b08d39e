"""Tensors of a checkpoint: read safely, recognised by their names, brought to the names of mvit2.model.

Three layouts are known, each a table of renamings: Hugging Face (ours), timm, and Apple's ml-cvnets.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .errors import CheckpointError
from .preprocess_spec import Layout

__all__ = ["fingerprint", "layout_of", "load_weights", "read_tensors", "to_hf_names", "without_auxiliary_head"]

StateDict = dict[str, Tensor]

# A layout is recognised by its stem and renamed by regular expressions, applied in order, each at most once a name.
_STEM: Mapping[str, Layout] = {
    "mobilevitv2.conv_stem.convolution.weight": "huggingface",
    "stem.conv.weight": "timm",
    "conv_1.block.conv.weight": "cvnets",
    "encoder.conv_1.block.conv.weight": "cvnets",  # of a segmentation network
}
_LAYER = "mobilevitv2.encoder.layer."


_TIMM: tuple[tuple[str, str], ...] = (
    (r"^stem\.", "mobilevitv2.conv_stem."),
    (r"^head\.fc\.", "classifier."),
    (r"^stages\.([01])\.(\d+)\.", _LAYER + r"\1.layer.\2."),
    (r"^stages\.([234])\.0\.", _LAYER + r"\1.downsampling_layer."),
    (r"^stages\.([234])\.1\.", _LAYER + r"\1."),
    (r"\.conv1_1x1\.", ".expand_1x1."),
    (r"\.conv2_kxk\.", ".conv_3x3."),
    (r"\.conv3_1x1\.", ".reduce_1x1."),
    (r"\.transformer\.(\d+)\.", r".transformer.layer.\1."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.(qkv_proj|out_proj)\.", r".attention.\1.convolution."),
    (r"\.mlp\.fc([12])\.", r".ffn.conv\1.convolution."),
    (r"(layer\.[234])\.norm\.", r"\1.layernorm."),
    (r"\.conv_1x1\.", ".conv_1x1.convolution."),
    (r"\.conv_proj\.", ".conv_projection."),
    (r"\.conv\.", ".convolution."),
    (r"\.bn\.", ".normalization."),
)
_CVNETS: tuple[tuple[str, str], ...] = (
    (r"^encoder\.", ""),
    (r"^seg_head\.", "segmentation_head."),
    (r"\.aspp_layer\.", "."),
    (r"\.aspp_pool\.", "."),
    (r"^conv_1\.", "mobilevitv2.conv_stem."),
    (r"^classifier\.1\.", "classifier."),
    (r"^layer_1\.", _LAYER + "0.layer."),
    (r"^layer_2\.", _LAYER + "1.layer."),
    (r"^layer_3\.", _LAYER + "2."),
    (r"^layer_4\.", _LAYER + "3."),
    (r"^layer_5\.", _LAYER + "4."),
    (r"(layer\.[234])\.0\.", r"\1.downsampling_layer."),
    (r"(layer\.[234])\.1\.", r"\1."),
    (r"\.block\.exp_1x1\.", ".expand_1x1."),
    (r"\.block\.conv_3x3\.", ".conv_3x3."),
    (r"\.block\.red_1x1\.", ".reduce_1x1."),
    (r"\.local_rep\.0\.", ".conv_kxk."),
    (r"\.local_rep\.1\.", ".conv_1x1."),
    (r"\.global_rep\.(\d+)\.(weight|bias)$", r".layernorm.\2"),
    (r"\.global_rep\.(\d+)\.", r".transformer.layer.\1."),
    (r"\.pre_norm_attn\.0\.", ".layernorm_before."),
    (r"\.pre_norm_attn\.1\.", ".attention."),
    (r"\.pre_norm_ffn\.0\.", ".layernorm_after."),
    (r"\.pre_norm_ffn\.1\.", ".ffn.conv1."),
    (r"\.pre_norm_ffn\.3\.", ".ffn.conv2."),
    (r"\.conv_proj\.", ".conv_projection."),
    (r"\.block\.", "."),
    (r"\.conv\.", ".convolution."),
    (r"\.norm\.", ".normalization."),
)
_WRAPPERS = ("state_dict", "model_state_dict", "model")  # under which training scripts keep the weights

_RENAMINGS: Mapping[Layout, tuple[tuple[str, str], ...]] = {"huggingface": (), "timm": _TIMM, "cvnets": _CVNETS}


def read_tensors(path: Path) -> StateDict:
    """The tensors of a ``.safetensors`` file, or of a torch pickle read with ``weights_only=True``.

    Raises CheckpointError for anything else, including a pickle that contains code.
    """
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on the pickle; what matters is an error below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: refused, it is not a plain torch checkpoint or it contains code that loading would run; "
            "ask its author for a .safetensors file."
        ) from None
    except Exception as error:  # on a damaged file torch raises nearly anything: IndexError, struct.error, ...
        reason = _first_line(error)
        raise CheckpointError(f"{path}: not a readable torch checkpoint ({reason}); fetch it again.") from None
    for _ in _WRAPPERS:  # at most one inside the other, and never for ever
        inner = next((w for w in _WRAPPERS if isinstance(content, dict) and isinstance(content.get(w), dict)), None)
        content = content[inner] if inner else content
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path}: expected a dictionary of tensors, found {type(content).__name__}.")
    return {str(name): tensor for name, tensor in content.items()}


def _read_safetensors(path: Path) -> StateDict:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        reason = f"{_first_line(error)}; {path.stat().st_size if path.exists() else 0} bytes"
        raise CheckpointError(f"{path}: not a complete safetensors file ({reason}); fetch it again.") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def layout_of(tensors: Mapping[str, Tensor], source: str) -> Layout:
    """Whose names these are; CheckpointError when nobody's."""
    for stem, layout in _STEM.items():
        if stem in tensors:
            return layout
    raise CheckpointError(
        f"{source}: not a MobileViTV2 classifier or segmenter: none of the stems {', '.join(_STEM)} among its "
        f"{len(tensors)} tensors, the first of which is {next(iter(tensors), 'none')!r}."
    )


def to_hf_names(tensors: Mapping[str, Tensor], layout: Layout) -> StateDict:
    """The same tensors under the names of mvit2.model (those of Hugging Face)."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _RENAMINGS[layout]:
            name = re.sub(pattern, replacement, name, count=1)
        renamed[name] = tensor
    return renamed


def without_auxiliary_head(tensors: Mapping[str, Tensor]) -> tuple[StateDict, int]:
    """``tensors`` (Hugging Face names) without the second head that ml-cvnets trains beside DeepLabV3; how many it had.

    It reads the fourth encoder layer and adds to the loss; no result ever comes from it.
    """
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("segmentation_head.aux_head.")}
    return kept, len(tensors) - len(kept)


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put ``tensors`` (Hugging Face names, any float type) into ``model`` as float32.

    Raises CheckpointError that names missing, unexpected and misshapen tensors, and any that holds NaN or Inf.
    """
    wanted = model.state_dict()
    counter = ".num_batches_tracked"  # training bookkeeping; absent from some exports
    missing = [name for name in wanted if name not in tensors and not name.endswith(counter)]
    unexpected = [name for name in tensors if name not in wanted]
    misshapen = [
        f"{n} is {_shape(tensors[n])}, expected {_shape(t)}"
        for n, t in wanted.items()
        if n in tensors and tensors[n].shape != t.shape
    ]
    broken = [n for n, t in wanted.items() if n in tensors and not torch.isfinite(tensors[n].to(t.dtype)).all()]
    problems = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen, "with NaN or Inf": broken}
    found = [f"{len(names)} {kind} ({_some(names)})" for kind, names in problems.items() if names]
    if found:
        raise CheckpointError(f"{source}: the tensors do not fit this network: {'; '.join(found)}.")
    model.load_state_dict({n: tensors[n].to(t.dtype) if n in tensors else t for n, t in wanted.items()})


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes and float32 values: the same weights in another container have the same one."""
    digest = hashlib.sha256()
    for name in sorted(n for n in tensors if not n.endswith(".num_batches_tracked")):
        digest.update(f"{name} {tuple(tensors[name].shape)}\n".encode())
        digest.update(tensors[name].detach().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
