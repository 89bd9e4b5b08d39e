"""Golden vectors: what every model file of a bundle said of a few images, readable on a phone without Python.

``golden/golden.json`` lists the cases and the files; images are lossless PNG, pixels raw uint8, scores raw
little-endian float32, or uint8 where models return masks. ``mvit2 check`` and the tests inside apps use just these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvit2.atomic_write import write_bytes, write_json
from mvit2.bundle.manifest import Artifact, FileRecord, Manifest, verified_path
from mvit2.errors import BundleError, ImageError
from mvit2.image.decode import load_image
from mvit2.runtime.tasks.outputs import PROBABILITIES, Output, output_of
from mvit2.strict_json import decode

__all__ = ["GOLDEN", "Golden", "read_golden", "write_golden"]

GOLDEN = "golden/golden.json"


@dataclass(frozen=True)
class Golden:
    """Pictures, the pixels that preprocessing makes of them, and what each model file says of these."""

    names: tuple[str, ...]
    pictures: tuple[NDArray[np.uint8] | None, ...]  # RGB [h, w, 3] of any size; None for made-up pixels
    pixels: NDArray[np.uint8]  # RGB [N, H, W, 3], after preprocessing
    scores: Mapping[str, NDArray[Any]]  # model file -> what it returned, [N, ...]: see runtime/tasks/outputs.py


@dataclass(frozen=True)
class _Input:
    dtype: Literal["uint8"]
    shape: tuple[int, int, int]  # height, width, channels: RGB


@dataclass(frozen=True)
class _Output:
    dtype: Literal["float32", "uint8"]
    shape: tuple[int, ...]  # probabilities: classes; logits: h, w, classes; mask: height, width
    floor: float | None  # a smaller probability counts as this one when logarithms are compared; None for others


@dataclass(frozen=True)
class _Case:
    name: str
    picture: str | None
    pixels: str


@dataclass(frozen=True)
class _Scores:
    file: str
    tolerance: float  # accepted max_relative of a Difference (mvit2/bundle/measurements.py) on another CPU or engine


@dataclass(frozen=True)
class _Index:
    input: _Input
    output: _Output
    cases: tuple[_Case, ...]
    scores: Mapping[str, _Scores]


@dataclass(frozen=True)
class _OldCase:
    name: str
    pixels: str  # PNG, after preprocessing
    probabilities: tuple[float, ...]  # of torch
    quantised: Mapping[str, tuple[float, ...]]  # of each quantised model file


@dataclass(frozen=True)
class _OldIndex:
    """What bundles of schema 1 and 2 have. Their images before preprocessing are not kept."""

    cases: tuple[_OldCase, ...]


def write_golden(
    bundle: Path, golden: Golden, artifacts: Sequence[Artifact], output: Output = PROBABILITIES
) -> list[str]:
    """Write ``golden/``; returns the paths inside the bundle.

    ``golden`` has the scores of every artifact: what it said, or of one that cannot run here, what torch says.
    """
    (bundle / GOLDEN).parent.mkdir()
    cases, files = [], [GOLDEN]
    for name, picture, pixels in zip(golden.names, golden.pictures, golden.pixels, strict=True):
        case = _Case(name, None if picture is None else f"golden/{name}.png", f"golden/{name}.rgb")
        if case.picture is not None and picture is not None:
            Image.fromarray(picture).save(bundle / case.picture)
        write_bytes(bundle / case.pixels, pixels.tobytes())
        cases.append(case)
        files += [file for file in (case.picture, case.pixels) if file]
    scores = {}
    for artifact in artifacts:
        name = artifact.file.path
        scores[name] = _Scores(f"golden/{name}{output.suffix}", output.tolerances[artifact.precision])
        write_bytes(bundle / scores[name].file, golden.scores[name].astype(_stored(output)).tobytes())
        files.append(scores[name].file)
    height, width, channels = golden.pixels.shape[1:]
    shape = next(iter(golden.scores.values())).shape[1:]
    index = _Index(
        _Input("uint8", (height, width, channels)),
        _Output(output.dtype, shape, output.floor),
        tuple(cases),
        scores,
    )
    write_json(bundle / GOLDEN, asdict(index))
    return files


def read_golden(bundle: Path, manifest: Manifest) -> Golden:
    """Raises BundleError when files are missing, changed, or not of the network's size."""
    files = {f.path: f for f in manifest.files}
    if GOLDEN not in files:
        raise BundleError(f"{bundle} has no golden vectors ({GOLDEN}). Export it again.")
    text = verified_path(bundle, files[GOLDEN]).read_bytes()
    try:
        content = json.loads(text)
        if isinstance(content, dict) and content.keys() == {"cases"}:
            return _read_old(bundle, manifest, files, decode(_OldIndex, content, "golden"))
        index: _Index = decode(_Index, content, "golden")
        return _read(bundle, manifest, files, index)
    except (ImageError, LookupError, RecursionError, ValueError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, LookupError) else str(error)
        raise BundleError(f"{bundle / GOLDEN} cannot be used ({what}). Export the bundle again.") from None


def _read(bundle: Path, manifest: Manifest, files: Mapping[str, FileRecord], index: _Index) -> Golden:
    shape, output, cases = (*manifest.preprocess.image_size, 3), output_of(manifest), index.cases
    shapes = {artifact.file.path: output.shape(manifest, artifact) for artifact in manifest.artifacts}
    said = (index.output.dtype, index.output.shape)
    if not cases or index.input.shape != shape or {said} != {(output.dtype, one) for one in shapes.values()}:
        raise ValueError(
            f"{len(cases)} cases of {list(index.input.shape)} and {said[0]} {list(said[1])}, expected one or more of "
            f"{list(shape)} and {output.dtype} {' or '.join(str(list(one)) for one in sorted(set(shapes.values())))}"
        )
    pictures = [
        None if case.picture is None else np.asarray(load_image(verified_path(bundle, files[case.picture])))
        for case in cases
    ]
    pixels = [np.frombuffer(_raw(bundle, files[case.pixels], *shape), np.uint8).reshape(shape) for case in cases]
    scores = {}
    for name, of_one in shapes.items():
        file, kind = files[index.scores[name].file], _stored(output)
        raw = _raw(bundle, file, len(cases), *of_one, kind.itemsize)
        scores[name] = np.frombuffer(raw, kind).reshape(-1, *of_one)
        if not output.sound(scores[name], manifest.classes or 0):
            raise ValueError(f"{file.path} holds numbers that are no {output.name}")
    return Golden(tuple(case.name for case in cases), tuple(pictures), np.stack(pixels), scores)


def _read_old(bundle: Path, manifest: Manifest, files: Mapping[str, FileRecord], index: _OldIndex) -> Golden:
    """Float artifacts are held against torch, as they were then."""
    shape, output = (*manifest.preprocess.image_size, 3), output_of(manifest)
    pixels = [np.asarray(load_image(verified_path(bundle, files[case.pixels]))) for case in index.cases]
    if {one.shape for one in pixels} != {shape}:
        raise ValueError(f"{len(pixels)} cases, expected one or more of {list(shape)}")
    scores = {}
    for artifact in manifest.artifacts:
        name, of_one = artifact.file.path, output.shape(manifest, artifact)
        answers = [case.quantised[name] if artifact.quantisation else case.probabilities for case in index.cases]
        if {len(answer) for answer in answers} != {np.prod(of_one)}:
            raise ValueError(f"other than {np.prod(of_one)} numbers of {name}")
        scores[name] = np.array(answers, output.dtype).reshape(-1, *of_one)
        if not output.sound(scores[name], manifest.classes or 0):
            raise ValueError(f"numbers of {name} that are no {output.name}")
    return Golden(tuple(case.name for case in index.cases), (None,) * len(pixels), np.stack(pixels), scores)


def _stored(output: Output) -> np.dtype[Any]:
    """Little-endian, whatever this machine is."""
    return np.dtype(output.dtype).newbyteorder("<")


def _raw(bundle: Path, file: FileRecord, *shape: int) -> bytes:
    """The file's bytes, as many as its numbers need."""
    if file.bytes != np.prod(shape):
        raise ValueError(f"{file.path} has {file.bytes} bytes, expected {np.prod(shape)}")
    return verified_path(bundle, file).read_bytes()
