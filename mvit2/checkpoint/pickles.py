"""Torch pickles, of which nothing is run: tensors, plain containers, and what training scripts put beside them."""

from __future__ import annotations

import pickle
import re
import shlex
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch

from mvit2.errors import CheckpointError

__all__ = ["read_pickle"]


class _Inert:
    """Stands where an object of no use to us was: takes whatever the pickle gives it, and does nothing."""

    def __new__(cls, *values: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *values: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


# Settings, paths, times and figures that training scripts save with the weights. None of these classes is made: a
# stand-in is, so that the list needs none of the libraries and stays harmless whatever they do.
_SETTINGS: Final = (
    *("argparse.Namespace", "types.SimpleNamespace", "decimal.Decimal", "uuid.UUID"),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(
        f"pathlib{module}.{name}"
        for module in ("", "._local")
        for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")
    ),
    *(f"{module}.multiarray.scalar" for module in ("numpy.core", "numpy._core")),
    *(f"{module}.multiarray._reconstruct" for module in ("numpy.core", "numpy._core")),
    *(f"numpy.{name}" for name in ("dtype", "ndarray", "float64", "float32", "int64", "int32", "bool_")),
    *(f"numpy.dtypes.{kind}DType" for kind in ("Float64", "Float32", "Float16", "Int64", "Int32", "UInt8", "Bool")),
    "torch.torch_version.TorchVersion",
)
_DICTIONARIES: Final = (  # subclasses of dict
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "yacs.config.CfgNode",
    "easydict.EasyDict",
    "addict.addict.Dict",
    "addict.Dict",
)
_StandIn = Callable[..., object] | tuple[Callable[..., object], str]
_SAFE: Final[list[_StandIn]] = [
    *((_Inert, name) for name in _SETTINGS),
    *((OrderedDict, name) for name in _DICTIONARIES),
]
_WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "net", "network", "ema")


def read_pickle(path: Path) -> object:
    """What ``torch.save`` wrote, read with ``weights_only=True``; objects of known harmless classes become empty ones.

    Raises:
        CheckpointError: unreadable, or it contains code; then with the line of Python that saves what can be read.
    """
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_SAFE):
            warnings.simplefilter("ignore")  # torch's remarks on the pickle; what matters is an error below
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refused(path, str(error))) from None
    except Exception as error:  # on a damaged file torch raises nearly anything: IndexError, struct.error, ...
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: not a readable torch checkpoint ({reason}); fetch it again.") from None
    return content


def _refused(path: Path, error: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", error)
    held = f" ({found[1][:80]})" if found else ""
    return (
        f"{path}: refused, it is not a plain torch checkpoint or it contains code{held} that loading would run. Where "
        f"you trust it, save its weights alone, with the program that made it at hand: {_rescue(path)}"
    )


def _rescue(path: Path) -> str:
    """A command that saves the weights of ``path``, be they under a key or in a pickled module."""
    key = _wrapper(path)
    inner = f'["{key}"]' if key else ""
    name = path.name.encode("unicode_escape").decode("ascii").replace('"', r"\"")
    code = (
        f'import torch; w = torch.load("{name}", map_location="cpu", weights_only=False){inner}; '
        'torch.save(getattr(w, "state_dict", lambda: w)(), "weights.pth")'
    )
    return f"python -c {shlex.quote(code)}"


def _wrapper(path: Path) -> str | None:
    """The first of the usual keys that the pickle spells out; its opcodes are listed, not run."""
    import pickletools
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
            stream = archive.open(name).read(1 << 20)
        words = [value for _, value, _ in pickletools.genops(stream) if isinstance(value, str)]
    except Exception:  # no zip, or damaged: the line is then for a pickled module
        return None
    return next((word for word in words[:200] if word in _WRAPPERS), None)
