"""Which families of networks there are: a row for each, with its configuration and how its networks are built.

Everything that is said of a family and needs no torch is here. What does need it goes by the types of a network's
modules: export/convert/fold/, export/convert/block_costs.py, quantize/learn/simulate.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from mvit2.errors import CheckpointError, UsageError, did_you_mean
from mvit2.image import default_preprocess
from mvit2.image.preprocess_spec import Layout, PreprocessSpec
from mvit2.tasks import CLASSIFY, SEGMENT, Task

from . import mobilevit_names
from .config import NetworkConfig, Variant
from .mobilevit_config import SIZES, MobileViTConfig
from .mobilevitv2_config import VARIANTS, ModelConfig
from .mobilevitv2_names import CVNETS, TIMM

if TYPE_CHECKING:
    from .network import Network

__all__ = [
    "ARCHITECTURES",
    "DEFAULT_VARIANT",
    "MOBILEVIT",
    "MOBILEVITV2",
    "Architecture",
    "ChainRules",
    "Naming",
    "Published",
    "family_of",
    "find_variant",
    "hub_id",
    "list_variants",
    "network_title",
    "published_identity",
    "read_config",
    "row_of",
    "transformer_title",
    "without_backbone",
]

DEFAULT_VARIANT: Final = "1.0"  # where nobody asks for one


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
        number = _number(spelled)
        if found is None and number is not None:
            found = next((row for row in self.variants.values() if _number(row.name) == number), None)
        return found

    def default_preprocess(self, image_size: tuple[int, int], layout: Layout) -> PreprocessSpec:
        """For a checkpoint that brings none, of a network that takes (height, width).

        Raises UsageError: unknown layout, impossible size.
        """
        if layout not in self.recipes:
            hint = did_you_mean(layout, tuple(self.recipes))
            raise UsageError(f"layout = {layout!r} cannot be used; accepted: {', '.join(self.recipes)}.{hint}")
        return self.recipes[layout].at(image_size)


def _classifier(config: NetworkConfig) -> Network:
    from .mobilevitv2 import MobileViTV2Classifier

    assert isinstance(config, ModelConfig)
    return MobileViTV2Classifier(config)


def _segmenter(config: NetworkConfig) -> Network:
    from .deeplabv3 import MobileViTV2Segmenter

    assert isinstance(config, ModelConfig)
    return MobileViTV2Segmenter(config)


def _mobilevit_classifier(config: NetworkConfig) -> Network:
    from .mobilevit import MobileViTClassifier

    assert isinstance(config, MobileViTConfig)
    return MobileViTClassifier(config)


def _mobilevit_segmenter(config: NetworkConfig) -> Network:
    from .deeplabv3 import MobileViTSegmenter

    assert isinstance(config, MobileViTConfig)
    return MobileViTSegmenter(config)


MOBILEVITV2 = Architecture(
    name="mobilevitv2",
    title="MobileViTV2",
    variant_noun="width",
    config=ModelConfig,
    variants=VARIANTS,
    configure=lambda variant: ModelConfig(width_multiplier=float(variant.name)),
    builders=MappingProxyType({CLASSIFY.name: _classifier, SEGMENT.name: _segmenter}),
    published=MappingProxyType(
        {
            CLASSIFY.name: Published(
                "apple/mobilevitv2-{}-imagenet1k-256", ("1.0", *(v for v in VARIANTS if v != "1.0"))
            ),
            SEGMENT.name: Published("apple/mobilevitv2-{}-voc-deeplabv3", ("1.0",)),
        }
    ),
    namings=MappingProxyType(
        {
            "huggingface": Naming(("mobilevitv2.conv_stem.convolution.weight",)),
            "timm": Naming(("stem.conv.weight",), TIMM),
            "cvnets": Naming(("conv_1.block.conv.weight", "encoder.conv_1.block.conv.weight"), CVNETS),
        }
    ),
    file_name=r"mobilevit_?v2[-_]?(\d\.\d+|\d{3})?[-_.]?",
    recipes=default_preprocess.MOBILEVITV2,
    blocks=r"conv_stem|encoder\.layer\.\d+\."
    r"((transformer\.)?layer\.\d+|downsampling_layer|conv_kxk|conv_1x1|layernorm|conv_projection)",
    transformer="separable self-attention over patches",
    chains=ChainRules(
        after_float=("conv_projection", "classifier", "pooled", "context"),
        inside=".transformer.",
        chained=r"\.ffn\.conv2$",
        joined="segmentation_head.aspp.convs.",
        joint="conv_projection",
    ),
    aliases=MappingProxyType({f"{100 * row.width_multiplier:03.0f}": row.name for row in VARIANTS.values()}),  # timm's
)
_SIZES = ("small", "x-small", "xx-small")
MOBILEVIT = Architecture(
    name="mobilevit",
    title="MobileViT",
    variant_noun="size",
    config=MobileViTConfig,
    variants=SIZES,
    aliases=MappingProxyType({"xxs": "xx-small", "xs": "x-small", "s": "small"}),
    configure=lambda variant: MobileViTConfig.of_size(SIZES[variant.name]),
    builders=MappingProxyType({CLASSIFY.name: _mobilevit_classifier, SEGMENT.name: _mobilevit_segmenter}),
    published=MappingProxyType(
        {
            CLASSIFY.name: Published("apple/mobilevit-{}", _SIZES, identity="imagenet1k-256"),
            SEGMENT.name: Published("apple/deeplabv3-mobilevit-{}", _SIZES, identity="voc-deeplabv3"),
        }
    ),
    namings=MappingProxyType(
        {
            "huggingface": Naming(("mobilevit.conv_stem.convolution.weight",)),
            "timm": Naming(
                ("stem.conv.weight",), mobilevit_names.TIMM, mark=r"\.attn\.qkv\.", splits=mobilevit_names.TIMM_SPLITS
            ),
            "cvnets": Naming(
                ("conv_1.block.conv.weight", "encoder.conv_1.block.conv.weight"),
                mobilevit_names.CVNETS,
                mark=r"\.pre_norm_mha\.",
                splits=mobilevit_names.CVNETS_SPLITS,
            ),
        }
    ),
    file_name=r"(?:deeplabv3[-_])?mobilevit[-_](xx-small|x-small|small|xxs|xs|s)(?![a-z])[-_.]?",
    recipes=default_preprocess.MOBILEVIT,
    blocks=r"conv_stem|conv_1x1_exp|encoder\.layer\.\d+\."
    r"((transformer\.)?layer\.\d+|downsampling_layer|conv_kxk|conv_1x1|layernorm|conv_projection|fusion)",
    transformer="self-attention between patches; its output is (patches, positions in a patch, channels)",
    chains=ChainRules(
        after_float=("conv_projection", "fusion", "classifier", "pooled", "context"),
        inside=".transformer.",
        chained=r"layer\.\d+\.output\.dense$",
        joined="segmentation_head.aspp.convs.",
        joint="fusion",
    ),
)
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType({row.name: row for row in (MOBILEVITV2, MOBILEVIT)})


def list_variants() -> tuple[Variant, ...]:
    """The published networks, smallest first within a family: name, parameters, multiply-accumulates, top-1."""
    return tuple(variant for row in ARCHITECTURES.values() for variant in row.variants.values())


def find_variant(name: str) -> Variant:
    """The variant called ``name``; "1", "1.0" and "1.00" are the same. Raises UsageError, naming near misses."""
    found = next((variant for row in ARCHITECTURES.values() if (variant := row.find(name)) is not None), None)
    if found is not None:
        return found
    known = [variant.name for variant in list_variants()]
    number, numbers = _number(name), [n for n in known if _number(n) is not None]
    if number is None:
        raise UsageError(f"unknown variant {name!r}; choose one of {', '.join(known)}.{did_you_mean(name, known)}")
    below = [n for n in numbers if float(n) < number]
    above = [n for n in numbers if float(n) > number]
    near = " or ".join(below[-1:] + above[:1])
    hint = f": did you mean {near}? Choose" if near else "; choose"  # nothing is near to "nan"
    raise UsageError(f"unknown variant {name!r}{hint} one of {', '.join(known)}.")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def family_of(variant: str) -> Architecture:
    """The architecture that has a variant of this name. Raises UsageError."""
    found = find_variant(variant)
    return next(row for row in ARCHITECTURES.values() if found in row.variants.values())


def row_of(config: NetworkConfig) -> Architecture:
    """The architecture that a configuration is of."""
    return ARCHITECTURES[config.architecture]


def read_config(content: Mapping[str, Any], source: str) -> NetworkConfig:
    """A config.json, by its ``model_type``. Raises CheckpointError: another network, or as the row's ``from_hf``."""
    kind = content.get("model_type")
    row = ARCHITECTURES.get(kind) if isinstance(kind, str) else None
    if row is None:
        accepted = " or ".join(map(repr, ARCHITECTURES))
        raise CheckpointError(f"{source}: model_type is {kind!r}, expected {accepted}.")
    return row.config.from_hf(content, source)


def hub_id(task: Task, variant: str = DEFAULT_VARIANT) -> str | None:
    """Where the weights of a variant with the head of a task were published; None: nowhere."""
    published = family_of(variant).published.get(task.name)
    return published.hub_id(find_variant(variant).name) if published else None


def published_identity(repository: str) -> str | None:
    """What a bundle's name says of the weights of a hub repository; None where the rest of its name says it."""
    rows = (row for family in ARCHITECTURES.values() for row in family.published.values() if row.identity)
    return next((row.identity for row in rows if repository in map(row.hub_id, row.variants)), None)


def network_title(architecture: str, variant: str) -> str:
    """Such as "MobileViTV2 of width 1.0"; of an architecture that is not known here, its names as they are."""
    row = ARCHITECTURES.get(architecture)
    return f"{row.title} of {row.variant_noun} {variant}" if row else f"{architecture} {variant}"


def transformer_title(architecture: str) -> str:
    """What the transformer layers of an architecture do; of one that is not known here, "self-attention"."""
    row = ARCHITECTURES.get(architecture)
    return row.transformer if row else "self-attention"


def without_backbone(module: str) -> str:
    """The name of a module of a network as it is inside of the backbone; others stay as they are."""
    backbones = "|".join(re.escape(name) for name in ARCHITECTURES)
    return re.sub(rf"^({backbones})\.", "", module)
