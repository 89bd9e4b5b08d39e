"""What is fuzzed: a row for each kind of input, which takes it the way the commands do."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

import mvit2
from mvit2.bundle.manifest import read_labels, read_manifest
from mvit2.image.dataset import Reading, labelled_images
from mvit2.image.decode import load_image, load_mask
from mvit2.image.masks import labelled_masks

from ..support.command import run_here
from .mutations import changed_bytes, changed_json, odd_text

__all__ = ["TARGETS", "World"]

DEMO = Path(mvit2.__file__).parent / "checkpoints" / "0.5"
GOLDEN = Path(__file__).parents[1] / "golden" / "bundles"


@dataclass(frozen=True)
class World:
    """Where a case may write, and a server that is at work."""

    folder: Path
    port: int

    @classmethod
    @contextmanager
    def made(cls, folder: Path) -> Iterator[World]:
        from mvit2.runtime.web.served import page_files
        from mvit2.runtime.web.server import BundleServer

        (folder / "engines").mkdir()
        with BundleServer(page_files(folder / "engines"), "127.0.0.1", 0) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield cls(folder, server.server_address[1])
            finally:
                server.shutdown()
                thread.join()

    def empty(self) -> Path:
        place = self.folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return place


@cache
def _images() -> tuple[bytes, ...]:
    pixels = np.random.default_rng(1).integers(0, 256, (24, 20, 3), np.uint8)
    found = []
    for kind, mode in (("PNG", "RGB"), ("PNG", "P"), ("PNG", "I;16"), ("JPEG", "RGB"), ("BMP", "RGB"), ("WEBP", "RGB")):
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 99) if mode == "I;16" else Image.fromarray(pixels)
        stream = io.BytesIO()
        (image if mode == "I;16" else image.convert(mode)).save(stream, kind)
        found.append(stream.getvalue())
    for kind in ("GIF", "TIFF"):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind)
        found.append(stream.getvalue())
    return tuple(found)


def _name(draw: random.Random) -> str:
    """A name that a file may have."""
    return (odd_text(draw).replace("/", "").replace("\0", "") or "x")[:60].strip(".") or "x"


def image(draw: random.Random, world: World) -> None:
    content = changed_bytes(draw, draw.choice(_images()))
    file = world.empty() / _name(draw)
    file.write_bytes(content)
    draw.choice((lambda: load_image(content), lambda: load_image(file), lambda: load_mask(file)))()


def manifest(draw: random.Random, world: World) -> None:
    from mvit2.export.describe import describe_bundle

    source = draw.choice(sorted(p.parent for p in GOLDEN.glob("*/manifest.json")))
    bundle = world.empty() / _name(draw)
    shutil.copytree(source, bundle)
    text = changed_json(draw, (source / "manifest.json").read_text(encoding="utf-8"))
    (bundle / "manifest.json").write_text(text, encoding="utf-8", errors="replace")
    describe_bundle(bundle)
    read_labels(bundle, read_manifest(bundle))


@cache
def _tflite() -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version, model.description = 3, "a model without a graph"
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data, entry.name, entry.buffer = np.frombuffer(b"\x10\0\0\0M001" * 9, np.uint8), "TFLITE_METADATA", 0
    model.buffers, model.metadata, model.subgraphs, model.operatorCodes = [buffer], [entry], [], []
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def metadata(draw: random.Random, world: World) -> None:
    from mvit2.export.convert.tflite_metadata import read_metadata

    file = world.empty() / "m.tflite"
    file.write_bytes(changed_bytes(draw, _tflite()))
    read_metadata(file)


def checkpoint(draw: random.Random, world: World) -> None:
    from mvit2.checkpoint.load import load_checkpoint

    folder = world.empty() / _name(draw)
    folder.mkdir()
    files = ("config.json", "preprocessor_config.json")
    changed = draw.choice((*files, "model.safetensors", "x.pt"))
    for name in files:
        text = (DEMO / name).read_text(encoding="utf-8")
        text = changed_json(draw, text) if name == changed else text
        (folder / name).write_text(text, encoding="utf-8", errors="replace")
    if changed == "x.pt":
        (folder / "x.pt").write_bytes(changed_bytes(draw, _pickle()))
    elif changed == "model.safetensors":
        whole = (DEMO / changed).read_bytes()
        size = int.from_bytes(whole[:8], "little") + 8
        (folder / changed).write_bytes(changed_bytes(draw, whole[:size]) + whole[size:])
    else:
        os.symlink(DEMO / "model.safetensors", folder / "model.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_checkpoint(str(folder))


@cache
def _pickle() -> bytes:
    import torch

    stream = io.BytesIO()
    torch.save({"state_dict": {"classifier.bias": torch.zeros(3)}, "epoch": 3}, stream)
    return stream.getvalue()


def data_set(draw: random.Random, world: World) -> None:
    folder, labels = world.empty(), [odd_text(draw) for _ in range(3)] + ["cat"]
    for _ in range(draw.randrange(5)):
        place = folder / _name(draw)
        place.mkdir(exist_ok=True)
        (place / f"{_name(draw)}{draw.choice(('.png', '.jpg', '.txt', ''))}").write_bytes(b"x")
    listed = folder / "list.csv"
    rows = [f"{odd_text(draw)}{draw.choice(',;')}{odd_text(draw)}" for _ in range(draw.randrange(4))]
    listed.write_text("\n".join([draw.choice(("path,label", "path,mask", odd_text(draw))), *rows]), "utf-8", "replace")
    synsets = folder / "synsets.txt"
    synsets.write_bytes(changed_bytes(draw, b"n01440764 tench, Tinca tinca\nn01443537 goldfish\n"))
    source = draw.choice((folder, listed))
    if draw.random() < 0.5:
        labelled_images(source, labels, draw.choice((None, synsets)))
    else:
        labelled_masks(source, Reading())


_WORDS = (
    "info",
    "check",
    "predict",
    "bench",
    "evaluate",
    "report",
    "app",
    "audit",
    "devices",
    "export",
    "serve",
    "compare",
)
_OPTIONS = (
    *("--json", "--quiet", "--artifact", "--threads", "--top-k", "--on", "--runs", "--target", "--synsets", "--split"),
    *(
        "--format",
        "--quantize",
        "--weights",
        "--variant",
        "--image-size",
        "--labels",
        "--baseline",
        "--ignore",
        "--port",
    ),
)


def flags(draw: random.Random, world: World) -> None:
    """The whole command, on what is not there: nothing may be made, so an export gets no weights that exist."""
    words = [draw.choice(_WORDS)]
    for _ in range(draw.randrange(5)):
        word = draw.choice((draw.choice(_OPTIONS), odd_text(draw), str(world.folder / _name(draw)), "-3", "1e9", "nan"))
        words.append(word.replace("\0", ""))
    if words[0] in ("export", "devices"):
        words += ["--weights", str(world.folder / "none")]
    done = run_here(*words)
    said = done.stdout + done.stderr
    assert done.returncode in (0, 1, 2), (words, done.returncode, said[-500:])
    assert "Traceback" not in said, (words, said[-1500:])
    assert all(c.isprintable() or c in "\n" for c in said), (words, said[-500:])


def request(draw: random.Random, world: World) -> None:
    good = b"GET /main.mjs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    sent = changed_bytes(draw, good.replace(b"/main.mjs", odd_text(draw).encode("utf-8", "replace") or b"/"))
    with socket.create_connection(("127.0.0.1", world.port), timeout=5) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    assert not answer.startswith(b"HTTP/1.1 5") or b"501" in answer[:16] or b"505" in answer[:16], (sent, answer[:300])


def json_file(draw: random.Random, world: World) -> None:
    """A bench's and a sensitivity's JSON, as ``report`` and ``bench --baseline`` read them."""
    from mvit2.runtime.bench.baseline import read_baseline

    content = {"trials": [{"results": [{"model": "m", "threads": 1, "reference": None, "ratio": None}]}]}
    file = world.empty() / "bench.json"
    file.write_text(changed_json(draw, json.dumps(content)), encoding="utf-8", errors="replace")
    read_baseline(file)


TARGETS: Mapping[str, Callable[[random.Random, World], None]] = {
    "images": image,
    "manifests": manifest,
    "metadata": metadata,
    "checkpoints": checkpoint,
    "data sets": data_set,
    "flags": flags,
    "requests": request,
    "files of figures": json_file,
}
