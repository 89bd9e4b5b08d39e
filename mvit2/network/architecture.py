"""What a row of ``ARCHITECTURES`` says of a family of networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mvit2.errors import UsageError, did_you_mean
from mvit2.image import default_preprocess
from mvit2.image.preprocess_spec import Layout, PreprocessSpec
from mvit2.tasks import Task

from .config import NetworkConfig, Variant

if TYPE_CHECKING:
    from .network import Network

__all__ = ["Architecture", "ChainRules", "Naming", "Published", "number_of"]


@dataclass(frozen=True)
class Naming:
    """How a layout names the tensors.

    Attributes:
        stems: one of these tensors is in every checkpoint of it.
        renamings: to Hugging Face's names: pattern, replacement; applied in order, each at most once a name.
        mark: a pattern that some tensor's name matches, where another architecture has the same stems.
        splits: pattern -> what stands in its place in the names of the parts, into which the rows are cut evenly.
    """

    stems: tuple[str, ...]
    renamings: tuple[tuple[str, str], ...] = ()
    mark: str = ""
    splits: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Published:
    """Weights on the hub.

    Attributes:
        pattern: of their ids.
        variants: that there are of them; the first is the usual.
        identity: what a bundle's name says of the weights, where their ids say no more than the variant.
    """

    pattern: str
    variants: tuple[str, ...]
    identity: str = ""

    def hub_id(self, variant: str) -> str | None:
        """None where that one was not published."""
        return self.pattern.format(variant) if variant in self.variants else None


@dataclass(frozen=True)
class ChainRules:
    """Which layers read what is computed in float, so that int8 has to be made of it first (quantize/learn).

    Attributes:
        after_float: last parts of layers' names.
        inside: a part of the names of layers that stand between float operations, all but
        chained: pattern of the names of those of them that read the layer before.
        joined: of a segmentation head, the layers that read one map and whose outputs become one.
        joint: the last part of the name of the layer that makes this map.
    """

    after_float: tuple[str, ...]
    inside: str
    chained: str
    joined: str
    joint: str


@dataclass(frozen=True)
class Architecture:
    """One row of ``ARCHITECTURES``.

    Attributes:
        name: as Hugging Face's config.json says it in ``model_type``; also the backbone's attribute in a network, so
            the prefix of its tensors, and how bundles' names begin.
        title: as people write it; ``variant_noun`` is what its variants are called: "MobileViTV2 of width 1.0".
        config: what a config.json is read into.
        variants: those that were published, by name; ``aliases`` are other spellings of these.
        configure: a variant -> the configuration of its 1000-class network.
        builders: task's name -> the network for a configuration, its weights not yet set. Imports torch.
        published: task's name -> its weights on the hub.
        namings: whose names the tensors of checkpoints may have.
        file_name: pattern of what a file's or folder's name says of the variant, before what it says of the weights;
            its group 1 is the variant.
        recipes: the preprocessing of checkpoints that bring none, by whose naming their tensors have.
        blocks: pattern of the backbone's blocks, by their modules.
        transformer: what its transformer layers do, and the axes of their output where these are not a map's.
        chains: for quantize/learn.
    """

    name: str
    title: str
    variant_noun: str
    config: type[NetworkConfig]
    variants: Mapping[str, Variant]
    configure: Callable[[Variant], NetworkConfig]
    builders: Mapping[str, Callable[[NetworkConfig], Network]]
    published: Mapping[str, Published]
    namings: Mapping[Layout, Naming]
    file_name: str
    recipes: Mapping[Layout, default_preprocess.Recipe]
    blocks: str
    transformer: str
    chains: ChainRules
    aliases: Mapping[str, str] = field(default_factory=dict)

    def build(self, task: Task, config: NetworkConfig) -> Network:
        """The network of ``config`` with the head of ``task``; its weights are not yet set."""
        return self.builders[task.name](config)

    def find(self, name: str) -> Variant | None:
        """The variant of that name, in any case, or of that number: "1" and "1.00" are "1.0".

        A checkpoint's name says it, too: "apple/mobilevitv2-1.0-imagenet1k-256", timm's "mobilevitv2_100".
        """
        spelled = name.strip().lower()
        said = re.match(self.file_name, spelled.rpartition("/")[2])
        return self._named(spelled) or (self._named(said[1]) if said and said[1] else None)

    def _named(self, spelled: str) -> Variant | None:
        found = self.variants.get(self.aliases.get(spelled, spelled))
        number = number_of(spelled)
        if found is None and number is not None:
            found = next((row for row in self.variants.values() if number_of(row.name) == number), None)
        return found

    def default_preprocess(self, image_size: tuple[int, int], layout: Layout) -> PreprocessSpec:
        """For a checkpoint that brings none, of a network that takes (height, width).

        Raises UsageError: unknown layout, impossible size.
        """
        if layout not in self.recipes:
            hint = did_you_mean(layout, tuple(self.recipes))
            raise UsageError(f"layout = {layout!r} cannot be used; accepted: {', '.join(self.recipes)}.{hint}")
        return self.recipes[layout].at(image_size)


def number_of(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
