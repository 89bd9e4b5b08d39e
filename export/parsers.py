"""The words of mvit2-export's options, read: what is typed, or given in Python -> a value (no heavy import here)."""

from __future__ import annotations

from collections.abc import Sequence

from mvit2.bundle.manifest import IO, OutputKind, Precision, precision_named
from mvit2.errors import UsageError, did_you_mean
from mvit2.network.mobilevitv2_config import PATCH_RULES

from .formats import FORMATS, IN_ALL, FormatName

__all__ = [
    "QUANTIZE",
    "parse_arithmetic",
    "parse_formats",
    "parse_ignore",
    "parse_image_size",
    "parse_io",
    "parse_output_kind",
    "parse_quantize",
    "parse_words",
    "show_formats",
    "show_size",
]

IOS: tuple[IO, ...] = ("image", "tensor")
OUTPUT_KINDS: tuple[OutputKind, ...] = ("scores", "mask")
QUANTIZE: tuple[Precision, ...] = ("float16", "dynamic", "int8", "full-int8")


def parse_formats(given: str | Sequence[str]) -> tuple[FormatName, ...]:
    """``--format`` words, "all" among them, in the order of FORMATS. Raises UsageError with a suggestion."""
    words = parse_words(given)
    for word in words or ("",):
        if word not in (*FORMATS, "all"):
            near = did_you_mean(word, (*FORMATS, "all"))
            raise UsageError(f"unknown --format {word!r}.{near} Choose {', '.join(FORMATS)} or all.")
    return tuple(f for f in FORMATS if f in words or ("all" in words and f in IN_ALL))


def show_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """As ``parse_formats`` reads them."""
    whole = {*IN_ALL} <= {*formats}
    return (*["all"] * whole, *(name for name in formats if not (whole and name in IN_ALL)))


def show_size(size: object) -> tuple[str, ...]:
    """An edge, a height and a width, or a word."""
    return ("x".join(map(str, size)) if isinstance(size, tuple) else str(size),)


def parse_words(given: str | Sequence[str]) -> tuple[str, ...]:
    """One word, or several."""
    return (given,) if isinstance(given, str) else tuple(given)


def parse_quantize(given: str | Sequence[str]) -> tuple[Precision, ...]:
    """``--quantize`` words, or "fp16" and its like, in the order of QUANTIZE; "none" stands alone.

    Raises UsageError with a suggestion.
    """
    words = [precision_named(word) or word for word in parse_words(given)]
    words = ["none" if word == "float32" else word for word in words]
    for word in words:
        if word not in (*QUANTIZE, "none"):
            near = did_you_mean(word, (*QUANTIZE, "none"))
            raise UsageError(f"unknown --quantize {word!r}.{near} Choose none, {', '.join(QUANTIZE)}; repeatable.")
    if "none" in words and set(words) != {"none"}:
        raise UsageError(
            f"--quantize none excludes {', '.join(w for w in words if w != 'none')}: leave one of them out."
        )
    return tuple(q for q in QUANTIZE if q in words)


def parse_image_size(text: str | int | tuple[int, int] | None) -> tuple[int, int] | None:
    """``"256"`` or ``"256x192"`` (height x width); an edge or a pair is taken, too. Raises UsageError."""
    if text is None or isinstance(text, tuple):
        return text
    text = str(text)
    try:
        edges = [int(part) for part in text.lower().split("x")]
    except ValueError:
        edges = []
    if len(edges) not in (1, 2):
        raise UsageError(f"--image-size is {text!r}, accepted: one number of pixels, or HEIGHTxWIDTH such as 256x192.")
    return edges[0], edges[-1]


def parse_io(word: str) -> IO:
    """Raises UsageError with a suggestion."""
    for io in IOS:
        if word == io:
            return io
    raise UsageError(f"unknown --io {word!r}.{did_you_mean(word, IOS)} Choose {' or '.join(IOS)}.")


def parse_output_kind(word: str) -> OutputKind:
    """Raises UsageError with a suggestion."""
    for kind in OUTPUT_KINDS:
        if word == kind:
            return kind
    raise UsageError(
        f"unknown --output-kind {word!r}.{did_you_mean(word, OUTPUT_KINDS)} Choose {' or '.join(OUTPUT_KINDS)}."
    )


def parse_arithmetic(word: str) -> str:
    """Raises UsageError with a suggestion."""
    if word not in PATCH_RULES:
        near = did_you_mean(word, PATCH_RULES)
        raise UsageError(f"unknown --arithmetic {word!r}.{near} Choose {' or '.join(PATCH_RULES)}.")
    return word


def parse_ignore(given: int | str | Sequence[int | str]) -> tuple[int, ...]:
    """``--ignore`` words such as "11" or "0,11" -> (0, 11). Raises UsageError."""
    each = [given] if isinstance(given, (int, str)) else given
    words = [word.strip() for text in each for word in str(text).split(",")]
    for word in words:
        if not (word.isascii() and word.isdigit()):
            said = ",".join(map(str, each))
            raise UsageError(f"--ignore is {said!r}, accepted: indices such as 11 or 0,11.")
    return tuple(int(word[:9]) for word in words)
