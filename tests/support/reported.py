"""A report as tests read it, and what a report on segmentation is about: a bundle with int8, pictures with masks."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from numpy.typing import NDArray
from PIL import Image

from mvit2.bundle.manifest import read_manifest, record, write_manifest
from mvit2.bundle.measurements import Fidelity, Quantisation

INT8 = "model_int8.onnx"
BLIND = 3  # the class that the int8 model never answers: its pixels go to the neighbours
CLASSES = 8
SECTIONS = (
    *("what", "files", "parity", "accuracy", "latency", "sensitivity", "operators", "accelerators"),
    *("network", "examples", "worst", "again"),
)


class Page(HTMLParser):
    """Tags, ids, text of every section and all links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: dict[str, str] = {"": ""}
        self.section = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found[key] or "" for key in ("src", "href", "xlink:href") if key in found]
        if tag == "section":
            self.section = found["id"] or ""
            self.text[self.section] = ""

    def handle_endtag(self, tag: str) -> None:
        self.section = "" if tag == "section" else self.section

    def handle_data(self, data: str) -> None:
        self.text[self.section] += data


def front_matter(card: str) -> dict[str, Any]:
    _, front, _ = card.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(front)
    return found


# ---- segmentation ----


def add_int8(bundle: Path) -> Path:
    """A second artifact: the same network without one class. What it is called does not matter to a report."""
    model = onnx.load(bundle / "model_float32.onnx")
    biases = next(tensor for tensor in model.graph.initializer if tensor.name == "b")
    values = onnx.numpy_helper.to_array(biases).copy()
    values[BLIND] -= 1e6
    biases.CopyFrom(onnx.numpy_helper.from_array(values, "b"))
    onnx.save(model, bundle / INT8)
    manifest = read_manifest(bundle)
    fidelity = Fidelity("held-out calibration pictures", 16, 0.875, 12.5, 0.5)
    quantisation = Quantisation("learned", (), {}, fidelity)
    changes = {"file": record(bundle, INT8), "precision": "int8", "parity": None, "quantisation": quantisation}
    int8 = dataclasses.replace(manifest.artifacts[0], **changes)
    write_manifest(bundle, dataclasses.replace(manifest, artifacts=(*manifest.artifacts, int8)))
    return bundle


def bands(width: int, height: int) -> NDArray[np.uint8]:
    """RGB: CLASSES upright bands of the same width, whose reds are exactly those of the classes."""
    reds = ((np.arange(CLASSES) + 0.5) * 256 / CLASSES).astype(np.uint8)
    picture = np.full((height, width, 3), 9, np.uint8)
    picture[..., 0] = reds[np.arange(width) * CLASSES // width]
    return picture


def write_pictures(folder: Path) -> Path:
    """Two pictures with their masks; in the second one's mask the class 0 is void."""
    folder.mkdir()
    for name, void in (("plain", 0), ("void", 255)):
        Image.fromarray(bands(192, 128)).save(folder / f"{name}.bmp")
        mask = np.tile(np.arange(192) * CLASSES // 192, (128, 1)).astype(np.uint8)
        mask[mask == 0] = void
        Image.fromarray(mask).save(folder / f"{name}.png")
    return folder
