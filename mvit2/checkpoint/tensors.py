"""Tensors of a checkpoint: read safely, put into a network, identified by their values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from mvit2.errors import CheckpointError
from mvit2.regular_files import check_regular

from .pickles import read_pickle
from .shards import shards_of
from .weight_sets import choose, find_sets

__all__ = [
    "StateDict",
    "check_fit",
    "check_plain",
    "fingerprint",
    "load_weights",
    "outline",
    "put_weights",
    "read_tensors",
    "read_weights",
]

StateDict = dict[str, Tensor]
_DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool),
)
_WRAPPERS = ("state_dict", "model_state_dict", "model")  # under which training scripts keep the weights


def read_weights(path: Path, key: str | None = None) -> tuple[StateDict, tuple[str, ...]]:
    """The tensors of the network in a checkpoint, without what wraps them and their common prefix; notes on the choice.

    Args:
        path: a ``.safetensors`` file, a torch pickle, or the ``.index.json`` of a checkpoint in several files.
        key: which set of weights, where there are several (``--weights-key``).

    Raises:
        CheckpointError: unreadable, code in a pickle, several networks. UsageError: no such ``key``.
    """
    content = _read(path)
    sets = find_sets(content)
    for one in sets:
        check_plain(one.tensors, str(path))
    if not sets and key is None:
        return _unwrapped(path, content), ()
    chosen, notes = choose(sets, key, str(path))
    return dict(chosen.tensors), notes


def read_tensors(path: Path) -> StateDict:
    """The tensors of a file as they are called there, whatever network they are of; of a pickle, unwrapped.

    Raises CheckpointError for anything else, including a pickle that contains code.
    """
    return _unwrapped(path, _read(path))


def _read(path: Path) -> object:
    try:
        check_regular(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}); check the path.") from None
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    return _read_safetensors(path) if path.suffix.lower() == ".safetensors" else read_pickle(path)


def _unwrapped(path: Path, content: object) -> StateDict:
    for _ in _WRAPPERS:  # at most one inside the other, and never for ever
        inner = next((w for w in _WRAPPERS if isinstance(content, dict) and isinstance(content.get(w), dict)), None)
        content = content[inner] if inner and isinstance(content, dict) else content
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path}: expected a dictionary of tensors, found {type(content).__name__}.")
    tensors = {str(name): tensor for name, tensor in content.items()}
    check_plain(tensors, str(path))
    return tensors


def check_plain(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises CheckpointError: a tensor that is none of numbers side by side in memory, as weights are.

    A pickle can hold others, which torch computes with differently or not at all, or which are a few bytes that stand
    for as many numbers as memory holds.
    """
    for name, tensor in tensors.items():
        odd = _oddness(tensor)
        if odd is not None:
            raise CheckpointError(
                f"{where}: the tensor {name[:80]!r} is {odd}; accepted: dense tensors of floats or integers; save it "
                "as such, or leave it out."
            )


def _oddness(tensor: Tensor) -> str | None:
    if tensor.is_nested or tensor.layout is not torch.strided:
        return "nested" if tensor.is_nested else f"sparse ({tensor.layout})"
    if tensor.device.type != "cpu":
        return f"on the device {tensor.device.type}, without values here"
    if tensor.is_quantized or tensor.dtype not in _DTYPES:
        return f"of {tensor.dtype}"
    held = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > held:
        return f"{_shape(tensor)} elements in {held} bytes"
    return None


def _read_shards(index: Path) -> StateDict:
    found: StateDict = {}
    names = shards_of(index)
    absent = [name for name in names if not (index.parent / name).is_file()]
    if absent:
        raise CheckpointError(f"{index} lists {len(names)} files, {absent[0]} is not beside it; fetch it again.")
    for name in names:
        found.update(_unwrapped(index.parent / name, _read(index.parent / name)))
    return found


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


def outline(build: Callable[[], nn.Module]) -> nn.Module:
    """A network on torch's meta device, names and shapes without values: its size costs no memory."""
    with torch.device("meta"):
        return build()


def check_fit(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Whether ``tensors`` are those of ``model``, of which names, shapes and dtypes alone are looked at.

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
    fitting = [n for n, t in wanted.items() if n in tensors and tensors[n].shape == t.shape]
    broken = [n for n in fitting if not torch.isfinite(tensors[n].to(wanted[n].dtype)).all()]
    problems = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen, "with NaN or Inf": broken}
    found = [f"{len(names)} {kind} ({_some(names)})" for kind, names in problems.items() if names]
    if found:
        raise CheckpointError(f"{source}: the tensors do not fit this network: {'; '.join(found)}.")


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put ``tensors`` (Hugging Face names, any float type) into ``model`` as float32. Raises as ``check_fit``."""
    check_fit(model, tensors, source)
    put_weights(model, tensors)


def put_weights(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """As ``load_weights``, of tensors that ``check_fit`` has passed."""
    wanted = model.state_dict()
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
