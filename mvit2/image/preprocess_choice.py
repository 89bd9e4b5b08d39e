"""Parts of a preprocessing that a user states, because a checkpoint says nothing of them or something wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar, get_args

from mvit2.errors import UsageError, did_you_mean

from .preprocess_spec import ChannelOrder, PreprocessSpec, Resample

__all__ = [
    "NO_CHOICE",
    "PreprocessChoice",
    "parse_channel_order",
    "parse_crop",
    "parse_resample",
    "parse_resize",
]

_Word = TypeVar("_Word", bound=str)
_ORDERS: Final[tuple[ChannelOrder, ...]] = get_args(ChannelOrder)
_FILTERS: Final[tuple[Resample, ...]] = get_args(Resample)
_CODES: Final[Mapping[Resample, int]] = {"bilinear": 2, "bicubic": 3}  # PIL.Image.Resampling


@dataclass(frozen=True)
class PreprocessChoice:
    """What ``--channel-order``, ``--resize``, ``--crop`` and ``--resample`` say; None is what the checkpoint says.

    Attributes:
        channel_order: RGB or BGR.
        resize: "none", the shortest edge in pixels, or (height, width) to which the image is stretched.
        crop: (height, width) of the centre crop, which is the network's input.
        resample: bilinear or bicubic.
    """

    channel_order: ChannelOrder | None = None
    resize: int | tuple[int, int] | Literal["none"] | None = None
    crop: tuple[int, int] | None = None
    resample: Resample | None = None

    def given(self) -> tuple[str, ...]:
        """The options that say something."""
        names = ("channel_order", "resize", "crop", "resample")
        return tuple(f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None)

    def complete(self) -> bool:
        return len(self.given()) == 4

    def on(self, spec: PreprocessSpec) -> PreprocessSpec:
        """``spec`` with what was chosen. Raises UsageError for an impossible value."""
        if self.channel_order is not None:
            spec = replace(spec, channel_order=self.channel_order)
        if self.crop is not None:
            spec = replace(spec, image_size=self.crop)
        if self.resize is not None:
            shortest = self.resize if isinstance(self.resize, int) else None
            exact = self.resize if isinstance(self.resize, tuple) else None
            spec = replace(spec, resize_shortest=shortest, resize_exact=exact)
        return spec if self.resample is None else replace(spec, resample=self.resample)

    def in_hf(self, config: Mapping[str, object]) -> dict[str, object]:
        """A preprocessor_config.json that says what was chosen, so that a wrong or missing value there does no harm."""
        said: dict[str, object] = {}
        if self.channel_order is not None:
            said["do_flip_channel_order"] = self.channel_order == "BGR"
        if self.crop is not None:
            said |= {"do_center_crop": True, "crop_size": list(self.crop)}
        if self.resize == "none":
            said["do_resize"] = False
        elif isinstance(self.resize, int):
            said |= {"do_resize": True, "size": {"shortest_edge": self.resize}}
        elif self.resize is not None:
            said |= {"do_resize": True, "size": list(self.resize)}
        if self.resample is not None:
            said["resample"] = _CODES[self.resample]
        return {**config, **said}


NO_CHOICE: Final = PreprocessChoice()


def parse_channel_order(word: str) -> ChannelOrder:
    """Raises UsageError with a suggestion."""
    return _word("--channel-order", word.upper(), _ORDERS)


def parse_resample(word: str) -> Resample:
    """Raises UsageError with a suggestion."""
    return _word("--resample", word.lower(), _FILTERS)


def parse_resize(given: str | int | tuple[int, int]) -> int | tuple[int, int] | Literal["none"]:
    """``"288"``, ``"256x192"`` (height x width) or ``"none"``. Raises UsageError."""
    return "none" if given == "none" else _edge_or_pair("--resize", given)


def parse_crop(given: str | int | tuple[int, int]) -> tuple[int, int]:
    """``"256"`` or ``"256x192"`` (height x width). Raises UsageError."""
    size = _edge_or_pair("--crop", given)
    return (size, size) if isinstance(size, int) else size


def _word(option: str, word: str, accepted: tuple[_Word, ...]) -> _Word:
    for known in accepted:
        if known == word:
            return known
    near = did_you_mean(word, accepted)
    raise UsageError(f"unknown {option} {word[:40]!r}.{near} Choose {' or '.join(accepted)}.")


def _edge_or_pair(option: str, given: str | int | tuple[int, int]) -> int | tuple[int, int]:
    if not isinstance(given, str):
        return given
    parts = given.lower().split("x")
    if not (1 <= len(parts) <= 2 and all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts)):
        raise UsageError(f"{option} is {given[:40]!r}, accepted: pixels such as 256, or HEIGHTxWIDTH such as 256x192.")
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))
