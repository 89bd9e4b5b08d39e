"""What ``mvit2 predict`` is given: images, folders of them, videos, a camera; one image after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvit2.errors import ImageError, MissingEngineError, UsageError
from mvit2.image.dataset import SUFFIXES, is_hidden
from mvit2.regular_files import files_below

__all__ = ["Frames", "Source", "images_of"]

_ALSO = (".gif", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jfif")  # in a folder; a named file is always opened
_VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".3gp")
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True)
class Frames:
    """Which frames of videos and of a camera: one every ``every`` seconds, ``most`` at most (None: all).

    Raises UsageError: numbers that are none.
    """

    every: float = 1.0
    most: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.every < float("inf"):
            raise UsageError(f"--every is {self.every}, accepted: 0 (every frame) or more seconds.")
        if self.most is not None and self.most < 1:
            raise UsageError(f"--frames is {self.most}, accepted: 1 or more.")


@dataclass(frozen=True)
class Source:
    """One image: ``name`` is what people read, ``image`` a path or uint8 RGB [H, W, 3]."""

    name: str
    image: Path | NDArray[np.uint8]

    @property
    def stem(self) -> str:
        """How files that are made of it begin."""
        return re.sub(r"[^\w.-]+", "-", Path(self.name).name) if isinstance(self.image, np.ndarray) else self.image.stem


def images_of(
    words: Sequence[str], frames: Frames, camera: int | None = None, of_camera: Frames | None = None
) -> Iterator[Source]:
    """Every image once, in the order of ``words``; a folder's in the order of their paths; then the camera's.

    Words are judged at once, images and videos are opened as they are asked for.

    Raises:
        UsageError: nothing is given, a URL, a folder without images. ImageError: a video or camera does not open.
        MissingEngineError: a video or camera without OpenCV.
    """
    if not words and camera is None:
        raise UsageError("Missing argument 'IMAGE...'. See --help.")
    return _opened(_files(words), frames, camera, of_camera or frames)


def _opened(files: Sequence[Path], frames: Frames, camera: int | None, of_camera: Frames) -> Iterator[Source]:
    for path in dict.fromkeys(files):
        if path.suffix.lower() in _VIDEOS and path.is_file():
            yield from _frames(str(path), str(path), frames)
        else:
            yield Source(str(path), path)
    if camera is not None:
        yield from _frames(camera, f"camera {camera}", of_camera)


def _files(words: Sequence[str]) -> list[Path]:
    """All of them, found before the first is read: so that a wrong word is told at once."""
    found: list[Path] = []
    for word in words:
        if _URL.match(word):
            raise UsageError(f"{word!r} is a URL, and nothing is downloaded here; save it first: curl -LO '{word}'")
        path = Path(word).expanduser()
        found += _images_in(path) if path.is_dir() else [path]
    return found


def _images_in(folder: Path) -> list[Path]:
    kinds = (*SUFFIXES, *_ALSO, *_VIDEOS)
    found = (p for p in files_below(folder) if p.suffix.lower() in kinds and not is_hidden(p, folder) and p.is_file())
    images = sorted(found)
    if not images:
        raise UsageError(f"'{folder}' is a folder without images; accepted: files ending in {' '.join(kinds)}.")
    return images


# ---- videos and cameras ----


def _frames(where: str | int, name: str, frames: Frames) -> Iterator[Source]:
    cv2 = _opencv()
    capture = cv2.VideoCapture(where)
    try:
        if not capture.isOpened():
            raise ImageError(f"{name} cannot be opened by OpenCV; check the path or number, and its codec.")
        step = max(1, round(frames.every * (capture.get(cv2.CAP_PROP_FPS) or 30.0)))
        number = given = 0
        while (frames.most is None or given < frames.most) and capture.grab():
            if number % step == 0:
                decoded, image = capture.retrieve()
                if decoded:
                    given += 1
                    yield Source(f"{name}#{number}", cv2.cvtColor(image, cv2.COLOR_BGR2RGB))  # OpenCV's are BGR
            number += 1
        if not given:
            raise ImageError(f"{name} has no frame that OpenCV can decode.")
    finally:
        capture.release()


def _opencv() -> Any:
    try:
        cv2: Any = import_module("cv2")
    except ImportError:
        raise MissingEngineError("opencv-python-headless", "opencv") from None
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what it cannot open is told by us
    return cv2
