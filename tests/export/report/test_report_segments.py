"""The report of a segmentation network: overlays that lie on the picture, IoU, and the words of its task."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mvit2.bundle.manifest import Manifest, read_manifest, record, write_manifest
from mvit2.bundle.measurements import MaskAccuracy
from mvit2.errors import BundleError
from mvit2.export.report.gather import example_pictures, gather
from mvit2.export.report.html import page
from mvit2.export.report.model_card import model_card
from mvit2.export.report.network_drawing import block_title, draw_network
from mvit2.export.report.segment import SegmenterRow
from mvit2.export.report.wording import export_again, postprocessing
from mvit2.export.request import ExportRequest
from mvit2.image.preprocess_spec import PreprocessSpec
from mvit2.runtime import Segmenter

from ...support.reported import BLIND, CLASSES, INT8, SECTIONS, Page, add_int8, bands, front_matter, write_pictures

Run = Callable[..., subprocess.CompletedProcess[str]]
CROP = PreprocessSpec((64, 96), 64, None)  # shortest edge to 64, then the middle
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("segments")


@pytest.fixture(scope="module")
def bundle(folder: Path, segments: ModuleType) -> Path:
    """Of masks, whose edges are exact, by a network that is shown the whole picture."""
    return add_int8(segments.write_bundle(folder / "b", CLASSES, output_kind="mask"))


@pytest.fixture(scope="module")
def cropping(folder: Path, segments: ModuleType) -> Path:
    return add_int8(segments.write_bundle(folder / "cropping", CLASSES, CROP))


@pytest.fixture(scope="module")
def pictures(folder: Path) -> Path:
    return write_pictures(folder / "pictures")


@pytest.fixture(scope="module")
def evaluated(bundle: Path, pictures: Path, run: Run) -> dict[str, Any]:
    done = run("report", bundle, "--eval", pictures, "--processes", 1, "--runs", 2, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pixels(uri: str) -> NDArray[np.uint8]:
    head, _, content = uri.partition(";base64,")
    assert head in ("data:image/png", "data:image/jpeg")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGBA"))


# ---- pictures ----


def test_every_artifact_lies_on_the_picture(bundle: Path, pictures: Path) -> None:
    """What a view shows is what Segmenter says, in the manifest's colours; a picture of this size stays so."""
    report = gather(bundle, {"bands": pictures / "plain.bmp"})
    (scene,) = report.examples
    assert (scene.size, scene.seen) == ((192, 128), 1.0)
    assert [view.name for view in scene.views] == ["model_float32.onnx", INT8]
    assert pixels(report.images[scene.photo]).shape == (128, 192, 4)
    for view in scene.views:
        found = Segmenter.open(bundle, view.name).predict(pictures / "plain.bmp")
        shown = pixels(report.images[view.overlay])
        painted = found.mask > 0  # the colour of class 0 is black: not painted
        assert (shown[..., :3] == np.asarray(found.color_mask().convert("RGB"))).all()
        assert ((shown[..., 3] > 0) == painted).all()


def test_where_int8_differs(bundle: Path, pictures: Path) -> None:
    """One band of eight: there and nowhere else."""
    report = gather(bundle, {"bands": pictures / "plain.bmp"})
    (scene,) = report.examples
    plain, int8 = scene.views
    assert (plain.same, plain.differs) == (None, None) and int8.same == 1 - 1 / CLASSES
    other = pixels(report.images[int8.differs])[..., 3] == 255  # opaque, the rest is a veil
    assert (other == (bands(192, 128)[..., 0] == 112)).all()  # 112: the red of class BLIND
    assert {area.label: area.scores[0] for area in scene.areas} == {f"class {i}": 1 / CLASSES for i in range(CLASSES)}
    assert next(area.scores[1] for area in scene.areas if area.index == BLIND) == 0
    assert sum(area.scores[1] for area in scene.areas) == pytest.approx(1)


def test_what_a_crop_cuts_off_is_dimmed(cropping: Path, pictures: Path, tmp_path: Path) -> None:
    Image.fromarray(bands(800, 200)).save(tmp_path / "wide.png")
    report = gather(cropping, {"wide": tmp_path / "wide.png"})
    (scene,) = report.examples
    left, _, right, _ = Segmenter.open(cropping).predict(tmp_path / "wide.png").box
    assert 0 < left < right < 800 and scene.seen == (right - left) / 800
    for name in (scene.views[1].overlay, scene.views[1].differs):
        shown = pixels(report.images[name])
        assert shown.shape == (64, 256, 4)  # the longest edge of a picture in the page
        dimmed = (shown[..., 3] == 190) & (shown[..., :3] < 30).all(-1)
        middles = (np.arange(256) + 0.5) * 800 / 256
        assert (dimmed.all(0) == ((middles < left) | (middles >= right))).all()
        assert (dimmed.any(0) == dimmed.all(0)).all()
    assert "of which the model sees" in Page(page(report)).text["examples"]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 700)])
def test_any_shape_of_a_picture(size: tuple[int, int], cropping: Path, tmp_path: Path) -> None:
    Image.fromarray(bands(*size)).save(tmp_path / "p.png")
    report = gather(cropping, {"p": tmp_path / "p.png"})
    assert max(max(pixels(uri).shape[:2]) for uri in report.images.values()) <= 256
    assert "p" in Page(page(report)).text["examples"]


# ---- accuracy ----


def test_the_evaluation_of_the_report(evaluated: dict[str, Any]) -> None:
    """Without class BLIND: its IoU is 0, its two neighbours lose to its pixels; the others are exact."""
    plain, int8 = evaluated["accuracy"]["rows"]
    assert (plain["mean_iou"], plain["pixel_accuracy"], plain["images"]) == (1.0, 1.0, 2)
    assert int8["pixel_accuracy"] == pytest.approx(1 - 2 / 15) and int8["iou"][BLIND] == 0
    assert int8["agreement"] == pytest.approx(1 - 1 / CLASSES)
    found = Page(Path(evaluated["bundle"], "report.html").read_text())
    assert tuple(found.text)[1:] == SECTIONS
    text = " ".join(found.text["accuracy"].split())
    for said in ("100.0%", "86.7%", "2 labelled images of pictures", "Pixel agreement", "class 3", "13.3%"):
        assert said in text, said
    assert text.index("class 3") < text.index("class 0")  # the worst first
    assert "not measured" not in text and all("top-1" not in section for section in found.text.values())


def test_the_worst_pictures_show_the_truth(evaluated: dict[str, Any]) -> None:
    assert [scene["picture"] for scene in evaluated["worst"]] == ["plain.bmp", "void.bmp"]
    for scene in evaluated["worst"]:
        assert [view["name"] for view in scene["views"]] == ["truth", "model_float32.onnx", INT8]
        assert [view["right"] is None for view in scene["views"]] == [True, False, False]
        areas = {area["label"]: area["scores"] for area in scene["areas"]}
        assert areas["class 3"] == [1 / CLASSES, 1 / CLASSES, 0]
        assert areas["class 0"][0] == (0 if scene["picture"] == "void.bmp" else 1 / CLASSES)
    shown = Page(Path(evaluated["bundle"], "report.html").read_text()).text["worst"]
    assert all(said in shown for said in ("truth", "87.50% as float32", "87.5% right", "85.7% right"))


def test_the_accuracy_of_the_export_is_taken_from_the_manifest(bundle: Path, pictures: Path, tmp_path: Path) -> None:
    manifest = read_manifest(bundle)
    figures = MaskAccuracy(40, 0.5, 0.75, (1.0, None, *[0.25] * (CLASSES - 2)))
    write_manifest(copied(bundle, tmp_path), _measured(manifest, figures))
    report = gather(tmp_path / "b", {})
    assert report.accuracy is not None and report.accuracy.source == "images of the export's --eval"
    assert [row.artifact for row in report.accuracy.rows] == ["model_float32.onnx", INT8]
    text = " ".join(Page(page(report)).text["accuracy"].split())
    assert "40 images" in text and "50.0%" in text and "class 0" in text and "class 1" not in text
    assert "worst images were not measured; mvit2 report BUNDLE --eval FOLDER" in text


def copied(bundle: Path, folder: Path) -> Path:
    return Path(shutil.copytree(bundle, folder / "b"))


def _measured(manifest: Manifest, figures: MaskAccuracy) -> Manifest:
    plain, int8 = manifest.artifacts
    assert int8.quantisation is not None
    fidelity = dataclasses.replace(int8.quantisation.fidelity, accuracy=figures, float_accuracy=figures)
    int8 = dataclasses.replace(int8, quantisation=dataclasses.replace(int8.quantisation, fidelity=fidelity))
    return dataclasses.replace(manifest, artifacts=(plain, int8))


@pytest.mark.parametrize(
    ("images", "mean_iou", "pixels", "iou"),
    [(0, 0.5, 0.5, ()), (1, 1.5, 0.5, ()), (1, 0.5, -0.1, ()), (1, 0.5, float("nan"), ()), (1, 0.5, 0.5, (None, 2.0))],
)
def test_impossible_accuracy_is_refused(images: int, mean_iou: float, pixels: float, iou: tuple[float, ...]) -> None:
    with pytest.raises(BundleError, match="shares of 0 to 1; export the bundle again"):
        SegmenterRow(INT8, "int8", images, mean_iou, pixels, iou)


# ---- words ----


def test_the_model_card(evaluated: dict[str, Any]) -> None:
    card = Path(evaluated["bundle"], "README.md").read_text()
    front = front_matter(card)
    assert front["pipeline_tag"] == "image-segmentation"
    results = front["model-index"][0]["results"]
    assert [result["task"]["type"] for result in results] == ["image-segmentation"] * 2
    assert [metric["type"] for metric in results[0]["metrics"]] == ["mean_iou", "pixel_accuracy"]
    assert "for semantic segmentation" in card and "class of every pixel" in card
    assert front["metrics"] == ["mean_iou", "pixel_accuracy"]
    assert re.search(r"\| model_int8.onnx \| \d+\.\d% \| 86\.7%", card)


def test_the_example_of_the_card_runs(evaluated: dict[str, Any], pictures: Path, tmp_path: Path) -> None:
    card = Path(evaluated["bundle"], "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0]
    code = code.replace('"BUNDLE"', repr(evaluated["bundle"])).replace('"photo.jpg"', repr(str(pictures / "plain.bmp")))
    exec(compile(code.replace('"overlay.png"', repr(str(tmp_path / "overlay.png"))), "card", "exec"), {})
    with Image.open(tmp_path / "overlay.png") as overlay:
        assert overlay.size == (192, 128)


@pytest.mark.parametrize(
    ("which", "before", "after"),
    [
        ("bundle", ["Resize it to 96 x 64 px"], ["The mask lies over the 96 x 64 px"]),
        ("cropping", ["shorter edge has 64 px", "Crop the centre"], ["bilinearly", "largest logit", "was not seen"]),
    ],
)
def test_what_an_app_does(which: str, before: list[str], after: list[str], request: pytest.FixtureRequest) -> None:
    manifest = read_manifest(request.getfixturevalue(which))
    said = postprocessing(manifest)
    assert len(said) == len(after) and all(word in step for word, step in zip(after, said, strict=True))
    text = Page(page(gather(request.getfixturevalue(which), {}))).text["what"]
    assert all(word in text for word in before) and "After the model" in text
    assert ("Crop the centre" in text) == (which == "cropping")


def test_the_command_that_makes_it_again(bundle: Path) -> None:
    asked = ExportRequest(weights="untrained", task="segment", output_kind="mask")
    manifest = dataclasses.replace(read_manifest(bundle), options=asked.typed)
    command = " ".join(export_again(manifest))
    assert "--task segment" in command and "--output-kind mask" in command


def test_text_from_outside_is_text(bundle: Path, pictures: Path, tmp_path: Path) -> None:
    """Labels and names of pictures; colours are checked by the manifest."""
    hostile = copied(bundle, tmp_path)
    (hostile / "labels.txt").write_text("".join(f"{HOSTILE}|[{i}](x)`\n" for i in range(CLASSES)))
    manifest = read_manifest(hostile)
    files = tuple(record(hostile, f.path) if f.path == "labels.txt" else f for f in manifest.files)
    figures = MaskAccuracy(1, 0.5, 0.5, (0.5,) * CLASSES)
    write_manifest(hostile, _measured(dataclasses.replace(manifest, files=files), figures))
    report = gather(hostile, {'"><img src=x onerror=alert(1)>.png': pictures / "plain.bmp"})
    text, card = page(report), model_card(report)
    found = Page(text)
    assert "script" not in found.tags and "<img src=x" not in text and "<script" not in text + card
    assert HOSTILE in found.text["examples"] and HOSTILE in found.text["accuracy"]
    assert card.count("\n---\n") == 1 and front_matter(card)["model-index"]


def test_the_page_asks_for_nothing_and_stays_small(evaluated: dict[str, Any], bundle: Path) -> None:
    text = Path(evaluated["bundle"], "report.html").read_text()
    found = Page(text)
    assert all(link.startswith(("#", "data:")) for link in found.links)
    assert all(url.startswith(("#", "data:image/")) for url in re.findall(r"url\(([^)]*)\)", text))
    photographs = gather(bundle, example_pictures(None))
    assert len(photographs.examples) == 5 and sum(map(len, photographs.images.values())) < 110_000


# ---- a real network ----


@pytest.fixture(scope="module")
def network(make_bundle: Callable[..., Path]) -> Path:
    """Never trained, by the export, whose last step the report is."""
    options = ("--format", "onnx", "--image-size", 64, "--task", "segment")
    return make_bundle("--weights", "untrained", "--variant", 0.5, *options)


def test_an_export_writes_it(network: Path) -> None:
    found = Page((network / "report.html").read_text())
    assert tuple(found.text)[1:] == SECTIONS and "never trained" in found.text[""]
    assert "model_float32.onnx" in found.text["latency"] and "coffee.jpg" in found.text["examples"]
    assert "of their range" in found.text["parity"] and "no quantised file" in found.text["parity"]
    assert front_matter((network / "README.md").read_text())["pipeline_tag"] == "image-segmentation"


def test_the_drawing_has_the_head(network: Path) -> None:
    blocks = read_manifest(network).blocks
    drawing = draw_network(blocks)
    assert blocks[-1].name == "segmentation_head.classifier" and drawing.count("<title>") == len(blocks)
    assert "DeepLabV3" in drawing and "layer 4" in drawing and "spatial pyramid" in drawing
    assert "spatial pyramid: a pixel" in Page((network / "report.html").read_text()).text["network"]


@pytest.mark.parametrize(
    ("name", "title"),
    [("segmentation_head.aspp", "head · aspp"), ("segmentation_head.classifier", "head · classifier")],
)
def test_block_title(name: str, title: str) -> None:
    assert block_title(name) == title
