"""Which families of networks there are: a row for each, with its configuration and how its networks are built.

No torch here until a network is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from mvit2.tasks import CLASSIFY, SEGMENT, Task

from .mobilevitv2_config import VARIANTS, ModelConfig, Variant

if TYPE_CHECKING:
    from .mobilevitv2 import Network

__all__ = ["ARCHITECTURES", "MOBILEVITV2", "Architecture", "list_variants"]


@dataclass(frozen=True)
class Architecture:
    """One row of ``ARCHITECTURES``.

    Attributes:
        name: as Hugging Face's config.json says it in ``model_type``.
        title: as people write it.
        config: what a config.json is read into.
        variants: those that were published, by name.
        builders: task's name -> the network for a configuration, its weights not yet set. Imports torch.
    """

    name: str
    title: str
    config: type[ModelConfig]
    variants: Mapping[str, Variant]
    builders: Mapping[str, Callable[[ModelConfig], Network]]

    def build(self, task: Task, config: ModelConfig) -> Network:
        """The network of ``config`` with the head of ``task``; its weights are not yet set."""
        return self.builders[task.name](config)


def _classifier(config: ModelConfig) -> Network:
    from .mobilevitv2 import MobileViTV2Classifier

    return MobileViTV2Classifier(config)


def _segmenter(config: ModelConfig) -> Network:
    from .deeplabv3 import MobileViTV2Segmenter

    return MobileViTV2Segmenter(config)


MOBILEVITV2 = Architecture(
    name="mobilevitv2",
    title="MobileViTV2",
    config=ModelConfig,
    variants=VARIANTS,
    builders=MappingProxyType({CLASSIFY.name: _classifier, SEGMENT.name: _segmenter}),
)
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({row.name: row for row in (MOBILEVITV2,)})


def list_variants() -> tuple[Variant, ...]:
    """The published networks, smallest first within a family: name, parameters, multiply-accumulates, top-1."""
    return tuple(variant for row in ARCHITECTURES.values() for variant in row.variants.values())
