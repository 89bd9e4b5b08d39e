"""The seven published widths of MobileViTV2 and the configuration that a checkpoint carries (no torch here)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, ClassVar

from mvit2.errors import CheckpointError, UsageError, did_you_mean

__all__ = [
    "ACTIVATION_NAMES",
    "DILATION_RULES",
    "PATCH_RULES",
    "PROBLEM_TYPES",
    "VARIANTS",
    "ModelConfig",
    "Variant",
    "make_divisible",
]


@dataclass(frozen=True)
class Variant:
    """One row of table 1 of arXiv 2206.02680 (ImageNet-1k, 256 x 256)."""

    name: str
    parameters: int  # of the 1000-class network
    gmac: float  # multiply-accumulates at 256 x 256, in 1e9, norms included
    top1: float  # ImageNet-1k accuracy reported in the paper, percent

    @property
    def width_multiplier(self) -> float:
        return float(self.name)


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        row.name: row
        for row in (
            Variant("0.5", 1_370_593, 0.48, 70.18),
            Variant("0.75", 2_866_009, 1.05, 75.56),
            Variant("1.0", 4_901_841, 1.84, 78.09),
            Variant("1.25", 7_478_089, 2.86, 79.65),
            Variant("1.5", 10_594_753, 4.09, 80.38),
            Variant("1.75", 14_251_833, 5.54, 80.84),
            Variant("2.0", 18_449_329, 7.22, 81.17),
        )
    }
)


def make_divisible(value: float, divisor: int = 8, minimum: int | None = None) -> int:
    """The multiple of ``divisor`` nearest to ``value``, never more than 10 % below it (MobileNet's channel rule)."""
    nearest = max(minimum or divisor, int(value + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * value else nearest


ACTIVATION_NAMES = ("swish", "silu", "relu", "relu6", "gelu", "hardswish", "leaky_relu", "sigmoid", "tanh", "mish")
PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")
PATCH_RULES = ("transformers", "ml-cvnets")
DILATION_RULES = ("transformers", "ml-cvnets")
_OURS = ("labels", "dilation_rule", "patch_rule")  # fields of a ModelConfig that no config.json has
_MISSPELT = 0.75  # so near to a field's name that it was probably meant

# Written into every Hugging Face config.json, without influence on the numbers that the network computes.
_BOOKKEEPING = (
    "architectures",
    "model_type",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "label2id",
    "_name_or_path",
    "name_or_path",
    "_commit_hash",
    "return_dict",
    "use_cache",
    "output_hidden_states",
    "output_attentions",
    "auto_map",
)
# Generic Hugging Face fields that would change the network or its output, accepted at these values alone.
_FIXED: Mapping[str, tuple[object, ...]] = {
    "chunk_size_feed_forward": (0,),
    "is_encoder_decoder": (False,),
    "quantization_config": (None,),
    "pruned_heads": ({}, None),
    "tie_word_embeddings": (True, False),  # there are no word embeddings
}

# Lowest and highest value of each number: far around everything published, and nothing that could fill the memory.
_RANGES: Mapping[str, tuple[float, float]] = {
    "num_channels": (1, 64),
    "image_size": (1, 8192),
    "patch_size": (1, 32),
    "expand_ratio": (0.01, 16),
    "conv_kernel_size": (1, 31),
    "classifier_dropout_prob": (0, 0.99),
    "initializer_range": (0, 1),
    "layer_norm_eps": (1e-12, 1),
    "aspp_out_channels": (1, 4096),
    "atrous_rates": (1, 256),
    "aspp_dropout_prob": (0, 0.99),
    "semantic_loss_ignore_index": (-(2**31), 2**31 - 1),
    "n_attn_blocks": (1, 64),
    "base_attn_unit_dims": (1, 2048),
    "width_multiplier": (0.01, 8),
    "ffn_multiplier": (1, 16),
    "attn_dropout": (0, 0.99),
    "ffn_dropout": (0, 0.99),
}


@dataclass(frozen=True)
class ModelConfig:
    """The fields of a Hugging Face ``MobileViTV2Config``, with its defaults; impossible values are refused.

    Fields of the DeepLabV3 head (``aspp_*``, ``atrous_rates``, ``semantic_loss_ignore_index``) are for that head; a
    classifier has nothing they could apply to.

    Three fields are not in a config.json. ``labels`` are the names in its id2label. ``dilation_rule`` says how far the
    depthwise ``conv_kxk`` of an encoder layer reaches where output stride 8 or 16 keeps the resolution of its input:

    * "transformers": its neighbours, as everywhere. Hugging Face's code computes this, so checkpoints in its
      naming get it, the published conversions of Apple's included.
    * "ml-cvnets": 2 pixels (4 in the second layer that keeps the resolution), as Apple's code and timm's dilate it.
      Checkpoints in their naming get it.

    At output stride 32 nothing is dilated, and both rules mean the same.

    ``patch_rule`` says what happens to a map that patches do not tile, as at every image size that is no multiple of
    64 at output stride 32:

    * "transformers": the transformer does not see its last row or column, and puts zeros there. ``from_hf`` sets it.
    * "ml-cvnets": the map is stretched first, as Apple's code and timm's do.

    ``problem_type`` says what a classifier's logits mean, and so its loss (MobileViTV2Classifier.loss). Where a file
    has none, one class is a regression, as in transformers.

    Raises:
        CheckpointError: a value that no MobileViTV2 network can have.
    """

    architecture: ClassVar[str] = "mobilevitv2"  # of the table of architectures

    num_channels: int = 3
    image_size: tuple[int, int] = (256, 256)  # height, width
    patch_size: int = 2
    expand_ratio: float = 2.0
    hidden_act: str = "swish"
    conv_kernel_size: int = 3
    output_stride: int = 32
    classifier_dropout_prob: float = 0.1
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    aspp_out_channels: int = 512
    atrous_rates: tuple[int, ...] = (6, 12, 18)
    aspp_dropout_prob: float = 0.1
    semantic_loss_ignore_index: int = 255
    n_attn_blocks: tuple[int, ...] = (2, 4, 3)
    base_attn_unit_dims: tuple[int, ...] = (128, 192, 256)
    width_multiplier: float = 1.0
    ffn_multiplier: int = 2
    attn_dropout: float = 0.0
    ffn_dropout: float = 0.0
    dilation_rule: str = "transformers"
    patch_rule: str = "ml-cvnets"
    problem_type: str = PROBLEM_TYPES[0]
    labels: tuple[str, ...] = field(default_factory=lambda: _numbered(1000))

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else (value,)
            _require(all(low <= n <= high for n in numbers), name, value, f"{low} to {high}")
        for name in ("n_attn_blocks", "base_attn_unit_dims", "atrous_rates"):
            _require(len(getattr(self, name)) == 3, name, getattr(self, name), "three integers")
        _require(self.hidden_act in ACTIVATION_NAMES, "hidden_act", self.hidden_act, " ".join(ACTIVATION_NAMES))
        _require(self.conv_kernel_size % 2 == 1, "conv_kernel_size", self.conv_kernel_size, "an odd number")
        _require(self.output_stride in (8, 16, 32), "output_stride", self.output_stride, "8, 16 or 32")
        rules = " or ".join(DILATION_RULES)
        _require(self.dilation_rule in DILATION_RULES, "dilation_rule", self.dilation_rule, rules)
        kinds = " or ".join(PROBLEM_TYPES)
        _require(self.problem_type in PROBLEM_TYPES, "problem_type", self.problem_type, kinds)
        rules = " or ".join(PATCH_RULES)
        _require(self.patch_rule in PATCH_RULES, "patch_rule", self.patch_rule, rules)
        _require(len(self.labels) > 0, "id2label", self.labels, "at least one class")

    @property
    def num_labels(self) -> int:
        return len(self.labels)

    @property
    def variant_name(self) -> str:
        """As the published variants are called, which it may or may not be one of."""
        width = self.width_multiplier
        return f"{width:.1f}" if round(width, 1) == width else f"{width:g}"

    @classmethod
    def from_shapes(cls, stem: tuple[int, ...], labels: tuple[str, ...]) -> ModelConfig:
        """What the shape of the stem's weights, (out, in, height, width), tells. Raises CheckpointError."""
        return cls(width_multiplier=stem[0] / 32, num_channels=stem[1], labels=labels)

    @property
    def stem_channels(self) -> int:
        return make_divisible(min(64, max(16, 32 * self.width_multiplier)), 8, minimum=16)

    @property
    def stage_channels(self) -> tuple[int, int, int, int, int]:
        """Output channels of the five encoder layers."""
        w = self.width_multiplier
        return (
            make_divisible(64 * w, 16),
            make_divisible(128 * w),
            make_divisible(256 * w),
            make_divisible(384 * w),
            make_divisible(512 * w),
        )

    @property
    def attention_channels(self) -> tuple[int, ...]:
        """Channels of the transformers in encoder layers 3, 4 and 5."""
        return tuple(make_divisible(dim * self.width_multiplier) for dim in self.base_attn_unit_dims)

    def _maps(self, image_size: tuple[int, int]) -> list[tuple[int, ...]]:
        """The transformers' maps, (height, width) each, before anything is stretched."""
        strides = [min(stride, self.output_stride) for stride in (8, 16, 32)]  # of encoder layers 3, 4, 5
        return [tuple(-(-edge // stride) for edge in image_size) for stride in strides]

    def tiles(self, image_size: tuple[int, int]) -> bool:
        """Whether patches tile the map of every transformer, so that ``patch_rule`` makes no difference."""
        return not any(edge % self.patch_size for size in self._maps(image_size) for edge in size)

    def map_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the last encoder layer's map, which segmentation logits have, for an image of that size.

        Raises UsageError where patches do not tile the map of a transformer and ``patch_rule`` stretches it there: the
        logits would no longer lie over the picture.
        """
        maps = self._maps(image_size)
        if self.patch_rule == "ml-cvnets" and not self.tiles(image_size):
            step = self.output_stride * self.patch_size
            near = _times(max(1, round(edge / step)) * step for edge in image_size)
            raise UsageError(
                f"image size {_times(image_size)} (height x width) gives the transformers maps of "
                f"{', '.join(map(_times, maps))}, which patches of {self.patch_size}x{self.patch_size} do not tile; "
                f"accepted at output stride {self.output_stride}: multiples of {step}, such as {near}."
            )
        return -(-image_size[0] // self.output_stride), -(-image_size[1] // self.output_stride)

    @classmethod
    def unread_fields(cls, config: Mapping[str, Any]) -> tuple[str, ...]:
        """The fields of a ``config.json`` that nothing here reads and nobody here knows, in its order."""
        known = {f.name for f in fields(cls)} - {*_OURS}
        known |= {*_FIXED, *_BOOKKEEPING, "id2label", "num_labels"}
        return tuple(name for name in config if name not in known)

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], source: str) -> ModelConfig:
        """Read a ``config.json``: every field that the network reads is honoured or refused by name (CheckpointError).

        Others, which training scripts and releases of transformers add, are in ``unread_fields``.
        """
        architecture = config.get("model_type")
        if architecture != "mobilevitv2":
            hint = " MobileViT (version 1) is another network." if architecture == "mobilevit" else ""
            raise CheckpointError(f"{source}: model_type is {architecture!r}, expected 'mobilevitv2'.{hint}")
        known = {f.name: f for f in fields(cls) if f.name not in _OURS}
        values: dict[str, Any] = {}
        for name, value in config.items():
            if name == "problem_type" and value is None:  # told by the number of classes, below
                continue
            if name in known:
                values[name] = _convert(source, name, value, known[name].default)
            elif name in _FIXED:
                _require(value in _FIXED[name], name, value, " or ".join(map(repr, _FIXED[name])), source)
            elif name in cls.unread_fields(config) and get_close_matches(name, [*known, *_OURS], 1, _MISSPELT):
                near = did_you_mean(name, known)
                raise CheckpointError(f"{source}: field {name!r} is not one of a MobileViTV2 configuration.{near}")
        labels = _labels(config, source)
        if len(labels) == 1 and config.get("problem_type") is None:  # as transformers takes it
            values["problem_type"] = "regression"
        try:
            return cls(**values, labels=labels, patch_rule="transformers")
        except CheckpointError as error:
            raise CheckpointError(f"{source}: {error}") from None


def _require(condition: bool, name: str, value: object, accepted: str, source: str = "") -> None:
    if not condition:
        raise CheckpointError(f"{source + ': ' if source else ''}{name} is {value!r}, accepted: {accepted}.")


def _times(size: Iterable[int]) -> str:
    return "x".join(map(str, size))


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"LABEL_{i}" for i in range(count))  # Hugging Face's own placeholder


def _convert(source: str, name: str, value: Any, default: Any) -> Any:
    """``value`` in the type of the field's default; a number stands for a (height, width) pair."""
    if name == "patch_size" and isinstance(value, (list, tuple)):
        _require(len(value) == 2 and value[0] == value[1], name, value, "one number (square patches)", source)
        value = value[0]
    if name == "image_size" and isinstance(value, int):
        value = (value, value)
    if isinstance(default, tuple):
        integers = isinstance(value, (list, tuple)) and all(type(v) is int for v in value)
        pair = name != "image_size" or (integers and len(value) == 2)
        _require(integers and pair, name, value, f"integers such as {list(default)}", source)
        return tuple(value)
    if isinstance(default, float):
        _require(type(value) in (int, float) and abs(value) < 2**53, name, value, f"a number such as {default}", source)
        return float(value)
    _require(type(value) is type(default), name, value, f"{type(default).__name__} such as {default!r}", source)
    return value


def _labels(config: Mapping[str, Any], source: str) -> tuple[str, ...]:
    named, count = config.get("id2label"), config.get("num_labels")
    if named is None:
        count = 2 if count is None else count  # transformers writes no names for its default, two classes
        _require(type(count) is int and count > 0, "num_labels", count, "a positive integer", source)
        return _numbered(count)
    _require(isinstance(named, Mapping) and len(named) > 0, "id2label", named, "an object {index: name}", source)
    try:
        by_index = {int(index): str(label) for index, label in named.items()}
    except ValueError:
        keys = list(named)[:3]
        raise CheckpointError(f"{source}: id2label has the keys {keys}, accepted: class indices from 0.") from None
    missing = sorted(set(range(len(named))) - set(by_index))
    _require(not missing, "id2label", f"an object without {missing[:3]}", "one name for each index from 0", source)
    _require(count in (None, len(named)), "num_labels", count, f"{len(named)}, as many as id2label names", source)
    return tuple(by_index[i] for i in range(len(named)))
