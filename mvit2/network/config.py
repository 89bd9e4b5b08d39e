"""What the configurations of all networks of the family have in common (no torch here)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, ClassVar, Self

from mvit2.errors import CheckpointError, did_you_mean

__all__ = [
    "ACTIVATION_NAMES",
    "MAX_CLASSES",
    "PROBLEM_TYPES",
    "NetworkConfig",
    "Variant",
    "make_divisible",
    "numbered",
    "require",
]


@dataclass(frozen=True)
class Variant:
    """One of the published networks of a family (ImageNet-1k, 256 x 256)."""

    name: str
    parameters: int  # of the 1000-class network
    gmac: float  # multiply-accumulates at 256 x 256, in 1e9, norms included
    top1: float  # ImageNet-1k accuracy reported in the paper, percent


def make_divisible(value: float, divisor: int = 8, minimum: int | None = None) -> int:
    """The multiple of ``divisor`` nearest to ``value``, never more than 10 % below it (MobileNet's channel rule)."""
    nearest = max(minimum or divisor, int(value + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * value else nearest


ACTIVATION_NAMES = ("swish", "silu", "relu", "relu6", "gelu", "hardswish", "leaky_relu", "sigmoid", "tanh", "mish")
PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")
MAX_CLASSES = 65_536  # three times ImageNet-22k's; a name is made for each before any tensor is seen
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
}


@dataclass(frozen=True)
class NetworkConfig:
    """The fields that Hugging Face's configurations of the family share; impossible values are refused.

    A family's own class adds its fields, gives all of them its defaults, and says what follows from them.

    Fields of the DeepLabV3 head (``aspp_*``, ``atrous_rates``, ``semantic_loss_ignore_index``) are for that head; a
    classifier has nothing they could apply to.

    ``labels`` is not in a config.json: they are the names in its id2label. ``problem_type`` says what a classifier's
    logits mean, and so its loss (mvit2.network.network.Classifier.loss). Where a file has none, one class is a
    regression, as in transformers.

    Raises:
        CheckpointError: a value that no network of the family can have.
    """

    architecture: ClassVar[str]  # its row of the table of architectures, and ``model_type`` of a config.json
    title: ClassVar[str]  # as people write it
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = MappingProxyType({})  # of the numbers that a family adds
    triples: ClassVar[tuple[str, ...]] = ()  # fields of a family with one integer for each of encoder layers 3, 4, 5
    ours: ClassVar[tuple[str, ...]] = ()  # fields of a family that no config.json has, beside ``labels``
    untold: ClassVar[tuple[str, ...]] = ()  # fields whose values ``from_shapes`` takes as they were published

    num_channels: int = 3
    image_size: tuple[int, int] = (256, 256)  # height, width
    patch_size: int = 2
    expand_ratio: float = 2.0
    hidden_act: str = "silu"
    conv_kernel_size: int = 3
    output_stride: int = 32
    classifier_dropout_prob: float = 0.1
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    aspp_out_channels: int = 256
    atrous_rates: tuple[int, ...] = (6, 12, 18)
    aspp_dropout_prob: float = 0.1
    semantic_loss_ignore_index: int = 255
    problem_type: str = PROBLEM_TYPES[0]
    labels: tuple[str, ...] = field(default_factory=lambda: numbered(1000))

    def __post_init__(self) -> None:
        for name, (low, high) in {**_RANGES, **self.ranges}.items():
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else (value,)
            require(all(low <= n <= high for n in numbers), name, value, f"{low} to {high}")
        for name in ("atrous_rates", *self.triples):
            require(len(getattr(self, name)) == 3, name, getattr(self, name), "three integers")
        require(self.hidden_act in ACTIVATION_NAMES, "hidden_act", self.hidden_act, " ".join(ACTIVATION_NAMES))
        require(self.conv_kernel_size % 2 == 1, "conv_kernel_size", self.conv_kernel_size, "an odd number")
        require(self.output_stride in (8, 16, 32), "output_stride", self.output_stride, "8, 16 or 32")
        kinds = " or ".join(PROBLEM_TYPES)
        require(self.problem_type in PROBLEM_TYPES, "problem_type", self.problem_type, kinds)
        require(0 < self.num_labels <= MAX_CLASSES, "number of classes", self.num_labels, f"1 to {MAX_CLASSES}")

    @property
    def num_labels(self) -> int:
        return len(self.labels)

    # ---- what a family says ----

    @property
    def variant_name(self) -> str:
        """As the published variants are called, which it may or may not be one of."""
        raise NotImplementedError

    @property
    def stem_channels(self) -> int:
        raise NotImplementedError

    @property
    def stage_channels(self) -> tuple[int, int, int, int, int]:
        """Output channels of the five encoder layers."""
        raise NotImplementedError

    @property
    def feature_channels(self) -> int:
        """Channels that a classifier reads."""
        return self.stage_channels[-1]

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]], labels: tuple[str, ...]) -> Self:
        """What the shapes of a backbone's tensors tell, by Hugging Face's names. Raises CheckpointError."""
        raise NotImplementedError

    def map_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the last encoder layer's map, which segmentation logits have, for an image of that size.

        Raises UsageError where a family's maps do not lie over the image at this size.
        """
        return -(-image_size[0] // self.output_stride), -(-image_size[1] // self.output_stride)

    # ---- where implementations differ ----

    @property
    def rules(self) -> Mapping[str, str]:
        """Whose arithmetic it is, "transformers" or "ml-cvnets", by what these do differently."""
        return {}

    def computed_as(self, code: str) -> Self:
        """The same network with the arithmetic of "transformers" or "ml-cvnets"."""
        return self

    def doubt_at(self, image_size: tuple[int, int]) -> str | None:
        """What implementations do differently with images of (height, width), in a sentence; None: nothing."""
        return None

    # ---- config.json ----

    @classmethod
    def unread_fields(cls, config: Mapping[str, Any]) -> tuple[str, ...]:
        """The fields of a ``config.json`` that nothing here reads and nobody here knows, in its order."""
        known = {f.name for f in fields(cls)} - {"labels", *cls.ours}
        known |= {*_FIXED, *_BOOKKEEPING, "id2label", "num_labels"}
        return tuple(name for name in config if name not in known)

    @classmethod
    def from_hf(cls, config: Mapping[str, Any], source: str) -> Self:
        """Read a ``config.json``: every field that the network reads is honoured or refused by name (CheckpointError).

        Others, which training scripts and releases of transformers add, are in ``unread_fields``.
        """
        architecture = config.get("model_type")
        if architecture != cls.architecture:
            raise CheckpointError(f"{source}: model_type is {architecture!r}, expected {cls.architecture!r}.")
        known = {f.name: f for f in fields(cls) if f.name not in ("labels", *cls.ours)}
        unread = frozenset(cls.unread_fields(config))
        values: dict[str, Any] = {}
        for name, value in config.items():
            if name == "problem_type" and value is None:  # told by the number of classes, below
                continue
            if name in known:
                values[name] = _convert(source, name, value, known[name].default)
            elif name in _FIXED:
                require(value in _FIXED[name], name, value, " or ".join(map(repr, _FIXED[name])), source)
            elif name in unread and get_close_matches(name, [*known, "labels", *cls.ours], 1, _MISSPELT):
                near = did_you_mean(name, known)
                raise CheckpointError(f"{source}: field {name!r} is not one of a {cls.title} configuration.{near}")
        labels = _labels(config, source)
        if len(labels) == 1 and config.get("problem_type") is None:  # as transformers takes it
            values["problem_type"] = "regression"
        try:
            return cls(**values, labels=labels).computed_as("transformers")
        except CheckpointError as error:
            raise CheckpointError(f"{source}: {error}") from None


def require(condition: bool, name: str, value: object, accepted: str, source: str = "") -> None:
    """Raises CheckpointError, naming the field, its value and what is accepted, unless ``condition`` holds."""
    if not condition:
        raise CheckpointError(f"{source + ': ' if source else ''}{name} is {value!r}, accepted: {accepted}.")


def numbered(count: int) -> tuple[str, ...]:
    return tuple(f"LABEL_{i}" for i in range(count))  # Hugging Face's own placeholder


def _convert(source: str, name: str, value: Any, default: Any) -> Any:
    """``value`` in the type of the field's default; a number stands for a (height, width) pair."""
    if name == "patch_size" and isinstance(value, (list, tuple)):
        require(len(value) == 2 and value[0] == value[1], name, value, "one number (square patches)", source)
        value = value[0]
    if name == "image_size" and isinstance(value, int):
        value = (value, value)
    if isinstance(default, tuple):
        integers = isinstance(value, (list, tuple)) and all(type(v) is int for v in value)
        pair = name != "image_size" or (integers and len(value) == 2)
        require(integers and pair, name, value, f"integers such as {list(default)}", source)
        return tuple(value)
    if isinstance(default, float):
        require(type(value) in (int, float) and abs(value) < 2**53, name, value, f"a number such as {default}", source)
        return float(value)
    require(type(value) is type(default), name, value, f"{type(default).__name__} such as {default!r}", source)
    return value


def _labels(config: Mapping[str, Any], source: str) -> tuple[str, ...]:
    named, count = config.get("id2label"), config.get("num_labels")
    if named is None:
        count = 2 if count is None else count  # transformers writes no names for its default, two classes
        counts = type(count) is int and 0 < count <= MAX_CLASSES
        require(counts, "num_labels", count, f"an integer from 1 to {MAX_CLASSES}", source)
        return numbered(count)
    require(isinstance(named, Mapping) and len(named) > 0, "id2label", named, "an object {index: name}", source)
    try:
        by_index = {int(index): str(label) for index, label in named.items()}
    except ValueError:
        keys = list(named)[:3]
        raise CheckpointError(f"{source}: id2label has the keys {keys}, accepted: class indices from 0.") from None
    missing = sorted(set(range(len(named))) - set(by_index))
    require(not missing, "id2label", f"an object without {missing[:3]}", "one name for each index from 0", source)
    require(count in (None, len(named)), "num_labels", count, f"{len(named)}, as many as id2label names", source)
    return tuple(by_index[i] for i in range(len(named)))
