"""What a checkpoint is: as it was read, and as the network that is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mvit2.image.preprocess_spec import Layout, PreprocessSpec
from mvit2.network.architecture import Architecture
from mvit2.network.architectures import row_of
from mvit2.network.config import NetworkConfig
from mvit2.tasks import CLASSIFY, Task

from .timm_config import TimmConfig

if TYPE_CHECKING:
    from torch import Tensor

    from mvit2.network.network import Network

__all__ = ["Checkpoint", "Opened", "Preprocess"]


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
