"""How an image becomes the network's pixels, as data: everything that differs between checkpoints.

A ``PreprocessSpec`` says what happens; ``mvit2.image.preprocess`` is the only code that does it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeGuard, get_args

from mvit2.errors import CheckpointError, UsageError, did_you_mean

__all__ = ["ChannelOrder", "Layout", "PreprocessSpec", "Resample", "Triple", "as_triple"]

Resample = Literal["bilinear", "bicubic"]
ChannelOrder = Literal["RGB", "BGR"]
Layout = Literal["huggingface", "timm", "cvnets"]
Triple = tuple[float, float, float]

MAX_EDGE: Final = 8192
"""Longest edge, in pixels, that a network input or a resize may ask for."""

_RESAMPLE_CODES: Final[dict[object, Resample]] = {2: "bilinear", 3: "bicubic"}  # PIL.Image.Resampling

# Every key a preprocessor_config.json may hold, in three groups. Those that decide about pixels:
_HONOURED: Final = (
    "do_resize",
    "size",
    "default_to_square",
    "resample",
    "do_center_crop",
    "crop_size",
    "do_rescale",
    "rescale_factor",
    "do_flip_channel_order",
    "do_normalize",
    "image_mean",
    "image_std",
)
# Those that cannot change a pixel here: bookkeeping, or of use only together with a key that is refused.
_INERT: Final = (
    "processor_class",
    "_valid_processor_keys",
    "transformers_version",
    "return_tensors",
    "device",
    "disable_grouping",
    "input_data_format",
    "do_convert_rgb",
    "pad_size",
    "do_reduce_labels",  # of label maps: mvit2.image.masks
    "reduce_labels",
)
# Those with one meaning that fits.
_PROCESSORS: Final = tuple(
    f"MobileViT{kind}" for kind in ("ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor")
)
_ONLY: Final[dict[str, tuple[object, ...]]] = {
    "image_processor_type": _PROCESSORS,
    "feature_extractor_type": _PROCESSORS,
    "do_pad": (False,),
    "data_format": ("channels_first",),
}


@dataclass(frozen=True)
class PreprocessSpec:
    """Resize, centre crop (with zeros where the image is smaller), then order and scale the channels.

    Attributes:
        image_size: (height, width) in pixels of the crop, which is the network's input.
        resize_shortest: the shortest edge becomes this many pixels, the aspect ratio is kept.
        resize_exact: the image is stretched to (height, width). At most one of the two resizes is not None.
        resample: Pillow's antialiased filter of that name.
        channel_order: what the checkpoint was trained in. Pixels stay RGB; the exported graph reorders them.
        scale, mean, std: the network sees ``(pixel * scale - mean) / std``; both are of red, green and blue, in that
            order, whatever the channel order.

    Raises:
        UsageError: a value that no image could be processed with.
    """

    image_size: tuple[int, int]
    resize_shortest: int | None
    resize_exact: tuple[int, int] | None = None
    resample: Resample = "bilinear"
    channel_order: ChannelOrder = "RGB"
    scale: float = 1 / 255
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        _check_size("image_size", self.image_size)
        if self.resize_shortest is not None and not _is_edge(self.resize_shortest):
            raise _refusal("resize_shortest", self.resize_shortest, f"whole pixels, 1..{MAX_EDGE}")
        if self.resize_exact is not None:
            _check_size("resize_exact", self.resize_exact)
            if self.resize_shortest is not None:
                raise _refusal("resize_exact", self.resize_exact, "None beside a resize_shortest")
        _check_word("resample", self.resample, get_args(Resample))
        _check_word("channel_order", self.channel_order, get_args(ChannelOrder))
        if not isinstance(self.scale, float) or not 0 < self.scale < math.inf:
            raise _refusal("scale", self.scale, "a finite float above 0, such as 1/255")
        as_triple("mean", self.mean)
        if min(as_triple("std", self.std)) <= 0:
            raise _refusal("std", self.std, "three finite numbers above 0")

    @property
    def normalises(self) -> bool:
        """Whether ``mean`` or ``std`` changes anything."""
        return (self.mean, self.std) != ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def as_sentence(self) -> str:
        """How a picture becomes pixels, as the description in every model file says it; what a graph does is not in it.

        ``bilinear resize, shortest edge to 288, centre crop 256x256``: width x height.
        """
        height, width = self.image_size
        resize = f"shortest edge to {self.resize_shortest}" if self.resize_shortest else f"to {self.resize_exact}"
        resize = f"{self.resample} resize, {resize}" if self.resize_shortest or self.resize_exact else "no resize"
        return f"{resize}, centre crop {width}x{height}"

    def in_words(self) -> str:
        """``BGR, edge 144 -> crop 128x128, bilinear``: height x width; scale, mean, std where unusual."""
        height, width = self.image_size
        crop = f"crop {height}x{width}"
        if self.resize_exact == self.image_size:
            resize = f"squash to {height}x{width}"
        elif self.resize_exact is not None:
            resize = f"squash to {self.resize_exact[0]}x{self.resize_exact[1]} -> {crop}"
        else:
            resize = f"no resize, {crop}" if self.resize_shortest is None else f"edge {self.resize_shortest} -> {crop}"
        scale = "" if self.scale == 1 / 255 else f", pixel * {self.scale:g}"
        normal = f", mean {list(self.mean)} std {list(self.std)}" if self.normalises else ""
        return f"{self.channel_order}, {resize}, {self.resample}{scale}{normal}"

    @classmethod
    def from_hf(cls, config: Mapping[str, object], source: str) -> PreprocessSpec:
        """Read a preprocessor_config.json of Hugging Face; every key is honoured or refused, none is skipped.

        An absent switch is on (``do_normalize`` is off), as in every release of ``MobileViTImageProcessor``;
        null means off. ``size``, ``crop_size`` and ``resample`` must be there where they are used: the class
        defaults changed between releases (bilinear in 2022, bicubic in transformers 5).

        Args:
            config: the parsed JSON object.
            source: the name of the file, for messages.

        Raises:
            CheckpointError: a key or value that cannot be honoured; it names both.
        """
        try:
            _refuse_unsupported(config)
            shortest, exact = _hf_resize(config)
            return cls(
                image_size=_hf_crop(config, exact),
                resize_shortest=shortest,
                resize_exact=exact,
                resample=_hf_resample(config) if shortest or exact else "bilinear",
                channel_order="BGR" if _flag(config, "do_flip_channel_order") else "RGB",
                scale=_hf_scale(config),
                **_hf_normalisation(config),
            )
        except UsageError as error:
            raise CheckpointError(f"{source}: {error}; correct that file") from None

    def with_image_size(self, height: int, width: int) -> PreprocessSpec:
        """The same recipe for another network size: the resize grows in proportion, rounded.

        The shortest edge follows the axis that grows most, so a recipe that never pads still never pads.

        Raises:
            UsageError: impossible size.
        """
        _check_size("image_size", (height, width))
        tall, wide = height / self.image_size[0], width / self.image_size[1]
        shortest, exact = self.resize_shortest, self.resize_exact
        return replace(
            self,
            image_size=(height, width),
            resize_shortest=None if shortest is None else max(1, round(shortest * max(tall, wide))),
            resize_exact=None if exact is None else (max(1, round(exact[0] * tall)), max(1, round(exact[1] * wide))),
        )


def as_triple(name: str, value: object) -> Triple:
    """Three finite numbers, or one that stands for all three. Raises UsageError."""
    given = list(value) if _is_list(value) else [value]
    numbers = [float(n) for n in given if isinstance(n, int | float) and not isinstance(n, bool) and abs(n) < 2**53]
    if len(numbers) != len(given) or len(numbers) not in (1, 3):
        raise _refusal(name, value, "three finite numbers")
    red, green, blue = numbers * (3 // len(numbers))
    return red, green, blue


def _refusal(name: str, value: object, accepted: str) -> UsageError:
    return UsageError(f"{name} = {value!r} cannot be used; accepted: {accepted}")


def _is_edge(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_EDGE


def _check_size(name: str, value: object) -> None:
    if not (isinstance(value, tuple) and len(value) == 2 and all(map(_is_edge, value))):
        raise _refusal(name, value, f"(height, width) in whole pixels, each 1..{MAX_EDGE}")


def _check_word(name: str, value: object, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        hint = did_you_mean(str(value), accepted)
        raise _refusal(name, value, f"{', '.join(accepted)}.{hint}" if hint else ", ".join(accepted))


def _flag(config: Mapping[str, object], key: str, default: bool = True) -> bool:
    """A boolean of the file; null means false, as everywhere in transformers."""
    value = config.get(key, default)
    if value is not None and not isinstance(value, bool):
        raise _refusal(key, value, "true, false")
    return bool(value)


def _refuse_unsupported(config: Mapping[str, object]) -> None:
    """Refuse what would change the pixels in a way a spec cannot express, and keys nobody here knows."""
    for key, value in config.items():
        if key in _ONLY and value is not None and value not in _ONLY[key]:
            raise _refusal(key, value, ", ".join(str(word) for word in _ONLY[key]))
        if value is not None and key not in (*_HONOURED, *_INERT, *_ONLY):
            raise _refusal(key, value, f"no such key; known are {', '.join(_HONOURED)}")


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _hf_resize(config: Mapping[str, object]) -> tuple[int | None, tuple[int, int] | None]:
    """(shortest edge, exact size): one of them is None, or both where the file says not to resize."""
    if not _flag(config, "do_resize"):
        return None, None
    size = config.get("size")
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"} and _is_edge(size["shortest_edge"]):
        return size["shortest_edge"], None
    # A bare number is how files of 2022 say it: the shortest edge, unless default_to_square is set.
    if _is_edge(size) and not _flag(config, "default_to_square", default=False):
        return size, None
    return None, _hf_pair("size", size, "{shortest_edge}, {height, width}, or a whole number")


def _hf_crop(config: Mapping[str, object], exact: tuple[int, int] | None) -> tuple[int, int]:
    if _flag(config, "do_center_crop"):
        return _hf_pair("crop_size", config.get("crop_size"), "{height, width}, or a whole number")
    if exact is None:  # then the network's input would have a different size for every image
        raise _refusal("do_center_crop", config["do_center_crop"], "true, or false with size {height, width}")
    return exact


def _hf_pair(key: str, value: object, accepted: str) -> tuple[int, int]:
    if _is_edge(value):
        return value, value
    pair = value
    if isinstance(value, Mapping) and set(value) == {"height", "width"}:
        pair = (value["height"], value["width"])
    if _is_list(pair) and len(pair) == 2:
        height, width = pair
        if _is_edge(height) and _is_edge(width):
            return height, width
    raise _refusal(key, value, f"{accepted}, each 1..{MAX_EDGE}")


def _hf_resample(config: Mapping[str, object]) -> Resample:
    code = config.get("resample")
    if type(code) is not int or code not in _RESAMPLE_CODES:
        raise _refusal("resample", code, "2 (bilinear), 3 (bicubic)")
    return _RESAMPLE_CODES[code]


def _hf_scale(config: Mapping[str, object]) -> float:
    if not _flag(config, "do_rescale"):
        return 1.0
    factor = config.get("rescale_factor", 1 / 255)
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < 2**53:
        raise _refusal("rescale_factor", factor, "a number above 0, such as 0.00392156862745098")
    return float(factor)


def _hf_normalisation(config: Mapping[str, object]) -> dict[str, Triple]:
    if not _flag(config, "do_normalize", default=False):
        return {}
    mean, std = (as_triple(key, config.get(key)) for key in ("image_mean", "image_std"))
    if min(std) <= 0:
        raise _refusal("image_std", list(std), "numbers above 0")
    return {"mean": mean, "std": std}
