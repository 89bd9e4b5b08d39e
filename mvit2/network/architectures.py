"""Which families of networks there are: a row for each, with its configuration and how its networks are built.

Everything that is said of a family and needs no torch is here. What does need it goes by the types of a network's
modules: export/convert/fold/, export/convert/block_costs.py, quantize/learn/simulate.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from mvit2.errors import CheckpointError, UsageError, did_you_mean
from mvit2.image import default_preprocess
from mvit2.tasks import CLASSIFY, SEGMENT, Task

from . import mobilevit_names
from .architecture import Architecture, ChainRules, Naming, Published, number_of
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
    number, numbers = number_of(name), [n for n in known if number_of(n) is not None]
    if number is None:
        raise UsageError(f"unknown variant {name!r}; choose one of {', '.join(known)}.{did_you_mean(name, known)}")
    below = [n for n in numbers if float(n) < number]
    above = [n for n in numbers if float(n) > number]
    near = " or ".join(below[-1:] + above[:1])
    hint = f": did you mean {near}? Choose" if near else "; choose"  # nothing is near to "nan"
    raise UsageError(f"unknown variant {name!r}{hint} one of {', '.join(known)}.")


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
