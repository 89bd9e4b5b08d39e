"""An image in any shape people hand over -> upright RGB, or one clear line about why not."""

from __future__ import annotations

import io
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from mvit2.errors import ImageError

__all__ = ["MAX_PIXELS", "ImageSource", "describe", "load_image", "load_mask", "upright_size"]

ImageSource = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[Any]
T = TypeVar("T")

MAX_PIXELS: Final = 2**27
"""Largest image, decoded or resized: 134 megapixels (a 108-megapixel phone passes), 0.5 GiB in Pillow."""

_LARGE_READ: Final = 1 << 20  # bytes
_FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP")
_ACCEPTED: Final = "JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF"
_REDUCED: Final = np.array([255, *range(254), 255], np.uint8)
_MASKS: Final = "of masks PNG, 8-bit grayscale or with a palette"

# First bytes of what people hand over by mistake, so that the message can name it.
_SIGNATURES: Final = (
    (b"GIF8", "a GIF file"),
    (b"II*\0", "a TIFF file"),
    (b"MM\0*", "a TIFF file"),
    (b"%PDF", "a PDF file"),
    (b"<svg", "an SVG file"),
    (b"PK\3\4", "a zip archive"),
)
_BRANDS: Final = {
    b"heic": "a HEIC file",
    b"heix": "a HEIC file",
    b"mif1": "a HEIF file",
    b"avif": "an AVIF file",
    b"avis": "an AVIF file",
}
# Those of them that Pillow reads: its name, and the package that adds it where it is not Pillow's own.
_ALSO_READ: Final[Mapping[str, tuple[str, str | None]]] = MappingProxyType(
    {
        "a GIF file": ("GIF", None),
        "a TIFF file": ("TIFF", None),
        "an AVIF file": ("AVIF", None),
        "a HEIC file": ("HEIF", "pillow_heif"),
        "a HEIF file": ("HEIF", "pillow_heif"),
    }
)

# What undoes each EXIF orientation (tag 274; 1 is upright). The table of PIL.ImageOps.exif_transpose, which
# also rewrites the EXIF block and therefore fails where that block is odd.
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THE_SIDE: Final = (5, 6, 7, 8)

# What Pillow's parsers and decoders raise on damaged files; OSError includes zlib's and the "truncated" ones.
_DAMAGE: Final = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    struct.error,
    zlib.error,
)


# What Pillow logs of damaged files it raises, too; a program that has no logging of its own would print it.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def load_image(source: ImageSource) -> Image.Image:
    """Read an image, upright and in RGB.

    * EXIF orientation is applied. An EXIF block that cannot be read is ignored, as image viewers do.
    * Every other mode becomes RGB as Pillow's ``convert("RGB")`` does it: alpha and transparency are dropped,
      not composed over a colour, because that is what the images a network was trained on went through.
    * 16-bit grayscale is scaled to 8 bit, ``round(value / 257)``, where Pillow would clip.
    * Of an animation the first frame counts.

    Args:
        source: a path, the bytes of a file, a PIL image, or an array: uint8 ``[H, W]``, ``[H, W, 1]`` (gray),
            ``[H, W, 3]`` (RGB), ``[H, W, 4]`` (RGBA), or uint16 ``[H, W]``, ``[H, W, 1]`` (gray).
            Files are JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF; HEIC where the package pillow-heif is installed.

    Returns:
        A new image of mode RGB that carries no EXIF, so that loading it again turns nothing.

    Raises:
        ImageError: missing, empty, damaged, truncated, unsupported, or of more than ``MAX_PIXELS`` pixels.
    """
    name = describe(source)
    if isinstance(source, np.ndarray):
        return _from_array(source, name)
    if isinstance(source, Image.Image):
        return _upright_rgb(source, name)
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), name, _upright_rgb)
    if isinstance(source, str | os.PathLike):
        return _from_file(Path(source), name, _upright_rgb)
    raise _refusal(name, "is not an image", "path, bytes, PIL image, NumPy array", "pass one of these")


def upright_size(path: Path) -> tuple[int, int]:
    """(width, height) of the image that ``load_image`` would give, read off its header. Raises ImageError."""

    def size(image: Image.Image, name: str) -> tuple[int, int]:
        _check_pixels(image.width, image.height, name)
        return image.size[::-1] if _orientation(image) in _ON_THE_SIDE else image.size

    return _from_file(path, describe(path), size)


def load_mask(path: Path, reduced: bool = False) -> npt.NDArray[np.uint8]:
    """Read the class indices of a mask file: uint8 [height, width], upright as ``load_image`` makes the image.

    A PNG of 8-bit grayscale, or with a palette, whose entries then are the indices; its colours do not matter.
    ``reduced``: as do_reduce_labels of transformers: 0 becomes 255, which is no class, and k becomes k - 1.

    Raises ImageError: missing, damaged, too large, or any other kind of image, whose pixels are no class indices.
    """
    indices = _from_file(path, describe(path), _indices, _MASKS)
    return _REDUCED[indices] if reduced else indices


def describe(source: object) -> str:
    """How messages call an image; paths are quoted, so that a line break in a name stays on one line."""
    if isinstance(source, str | os.PathLike):
        return repr(os.fspath(source))
    if isinstance(source, np.ndarray):
        return f"array of {source.dtype} {list(source.shape)}"
    if isinstance(source, Image.Image):
        return f"PIL image of mode {source.mode}"
    return "image bytes" if isinstance(source, bytes) else f"object of type {type(source).__name__}"


def _refusal(name: str, wrong: str, accepted: str, todo: str) -> ImageError:
    return ImageError(f"{name} {wrong}; accepted: {accepted}; {todo}")


class _Bounded(io.BufferedReader):
    """A file of which nobody reads more than it has: Python takes the memory for as much as a damaged file claims."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LARGE_READ:
            size = max(0, min(size, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def _from_file(path: Path, name: str, finish: Callable[[Image.Image, str], T], accepted: str = _ACCEPTED) -> T:
    try:
        if path.is_file():  # a named pipe or a device could block for ever, or never end
            with _Bounded(path.open("rb").detach()) as stream:
                return _decode(stream, name, finish, accepted)
        wrong = "is a folder" if path.is_dir() else "is no regular file" if path.exists() else "does not exist"
    except OSError as error:
        wrong = f"cannot be read ({error.strerror or error})"
    raise _refusal(name, wrong, f"a readable file: {accepted}", "check the path")


def _decode(stream: BinaryIO, name: str, finish: Callable[[Image.Image, str], T], accepted: str = _ACCEPTED) -> T:
    head = stream.read(64)
    if not head:
        raise _refusal(name, "is empty (0 bytes)", accepted, "fetch it again")
    with _pillow(name, accepted):
        try:
            image: Image.Image = Image.open(stream, formats=_FORMATS)
        except UnidentifiedImageError:
            image = _open_other(stream, name, _guess(head), accepted)
        return finish(image, name)


def _open_other(stream: BinaryIO, name: str, what: str, accepted: str) -> Image.Image:
    """A kind that is tried last, since its reader is slow to load. Raises ImageError: Pillow does not read it here."""
    pillow_name, package = _ALSO_READ.get(what, ("", None))
    todo = "convert it or fetch it again"
    if package is not None:
        try:
            import_module(package).register_heif_opener()
        except ImportError:
            todo = f"convert it to JPEG, or pip install {package.replace('_', '-')}"
    if pillow_name:
        Image.init()
    if pillow_name not in Image.OPEN:
        raise _refusal(name, f"is {what}", accepted, todo)
    stream.seek(0)
    return Image.open(stream, formats=(pillow_name,))


def _guess(head: bytes) -> str:
    """What a file that none of the accepted formats recognises probably is."""
    for signature, what in _SIGNATURES:
        if head.startswith(signature):
            return what
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return _BRANDS[head[8:12]]
    is_text = all(byte >= 32 or byte in b"\t\n\r" for byte in head)
    return "a text file" if is_text else "not an image, or one with a damaged header"


@contextmanager
def _pillow(name: str, accepted: str = _ACCEPTED) -> Iterator[None]:
    """Pillow's errors become one ImageError; its warnings (size, palette, EXIF) are not shown."""
    with warnings.catch_warnings():
        # Only Pillow's: where threads overlap, a filter can outlive its block, and must then do no harm.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            yield
        except Image.DecompressionBombError as error:
            raise _too_large(name, str(error)) from None
        except MemoryError:
            raise _refusal(name, "needs more memory than there is", accepted, "make it smaller first") from None
        except _DAMAGE as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise _refusal(name, f"is damaged or truncated ({reason})", accepted, "fetch it again") from error


def _too_large(name: str, size: str) -> ImageError:
    return _refusal(name, f"is too large ({size})", f"at most {MAX_PIXELS} pixels", "make it smaller first")


def _check_pixels(width: int, height: int, name: str) -> None:
    """Known from the header, before anything is decoded."""
    if width < 1 or height < 1:
        raise _refusal(name, f"has no pixels ({width}x{height})", "at least 1x1", "check where it comes from")
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{width}x{height}")


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    _check_pixels(image.width, image.height, name)
    with _pillow(name):
        image.load()
        upright = _turned(_rgb(image, name), image)
    upright.info = {}  # the EXIF block in there would turn it a second time
    return upright


def _indices(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    """Gray of fewer than 8 bits is refused: Pillow spreads its values over 0..255, which changes the classes."""
    _check_pixels(image.width, image.height, name)
    raw = getattr(image, "tile", [(None,) * 4])[0][3] if image.format == "PNG" else None
    if image.format != "PNG" or image.mode not in ("L", "P") or (image.mode == "L" and raw != "L"):
        bits = f" of {raw[2:]} bits" if isinstance(raw, str) and raw.startswith("L;") else ""
        kind = f"is a {image.format} file with pixels of mode {image.mode}{bits}"
        raise _refusal(name, kind, _MASKS, "write the class index of every pixel as its gray value")
    with _pillow(name, _MASKS):
        image.load()
        return np.asarray(_turned(image, image))


def _turned(image: Image.Image, original: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(original))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except _DAMAGE:
        return None  # the note beside the image is damaged, the image is not


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F":
        raise _refusal(name, "has floating-point pixels", "8-bit, or 16-bit grayscale", "convert it first")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_gray16(np.asarray(image), name)
    return image.convert("RGB")


def _from_gray16(values: npt.NDArray[Any], name: str) -> Image.Image:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:  # Pillow's mode I has 32 bits, of which image files only ever use 16
        raise _refusal(name, f"has pixels of {low}..{high}", "16-bit grayscale, 0..65535", "convert it first")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8)).convert("RGB")


def _from_array(array: npt.NDArray[Any], name: str) -> Image.Image:
    pixels = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    gray, colour = pixels.ndim == 2, pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    is_uint8, is_uint16 = (pixels.dtype.kind == "u" and pixels.dtype.itemsize == size for size in (1, 2))
    if not (is_uint8 and (gray or colour)) and not (is_uint16 and gray):
        accepted = "uint8 [H, W], [H, W, 1], [H, W, 3], [H, W, 4], or uint16 [H, W], [H, W, 1]"
        raise _refusal(name, "is not an image", accepted, "convert or transpose it first")
    _check_pixels(pixels.shape[1], pixels.shape[0], name)
    if is_uint16:
        return _from_gray16(pixels, name)
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
