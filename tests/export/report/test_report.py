"""What a report says and where it gets it from; the command, and the report as the last step of an export."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mvit2.bundle.manifest import read_manifest
from mvit2.errors import BundleError
from mvit2.export.pipeline import export
from mvit2.export.report.classify import ClassifierRow
from mvit2.export.report.gather import Report, example_pictures, gather
from mvit2.export.report.html import page
from mvit2.export.report.model_card import model_card
from mvit2.export.request import ExportRequest

from ...support.reported import SECTIONS, Page, front_matter

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def labelled(folder: Path, photos: Path, int8_bundle: Path) -> Path:
    """A CSV file that gives the bundled photographs classes of the demo checkpoint."""
    labels = (int8_bundle / "labels.txt").read_text().splitlines()
    rows = [f"{photo},{labels[i]}\n" for i, photo in enumerate(sorted(photos.glob("*.jpg")))]
    (folder / "labelled.csv").write_text("path,label\n" + "".join(rows))
    return folder / "labelled.csv"


@pytest.fixture(scope="module")
def sensitivity(folder: Path, int8_bundle: Path) -> Path:
    """As `mvit2 sensitivity --json` prints it, for the blocks of this network."""
    blocks = [
        {
            "block": b.name,
            "alone_snr_db": 20.0 + i,
            "alone_cosine": 0.99,
            "alone_agreement": 0.9,
            "without_snr_db": 30.0,
        }
        for i, b in enumerate(read_manifest(int8_bundle).blocks)
    ]
    (folder / "sensitivity.json").write_text(json.dumps({"blocks": blocks, "warnings": []}))
    return folder / "sensitivity.json"


@pytest.fixture(scope="module")
def bench(folder: Path, int8_bundle: Path, run: Run) -> Path:
    (folder / "bench.json").write_text(run("bench", int8_bundle, "--runs", 10, "--warmup", 1, "--json").stdout)
    return folder / "bench.json"


@pytest.fixture(scope="module")
def whole(folder: Path, int8_bundle: Path, run: Run, labelled: Path, sensitivity: Path, bench: Path) -> dict[str, Any]:
    """All options at once: what --json says, and the bundle's folder."""
    bundle = Path(shutil.copytree(int8_bundle, folder / "whole"))
    given = ("--eval", labelled, "--sensitivity", sensitivity, "--bench", bench)
    done = run("report", bundle, *given, "--processes", 1, "--json")
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.fixture(scope="module")
def bare(demo_bundle: Path) -> Report:
    """What is known without a measurement."""
    return gather(demo_bundle, example_pictures(None))


# ---- what it says ----


def test_the_whole_report(whole: dict[str, Any], int8_bundle: Path) -> None:
    bundle = Path(whole["bundle"])
    files = [a["file"]["path"] for a in whole["manifest"]["artifacts"]]
    assert whole["written"] == [str(bundle / "report.html"), str(bundle / "README.md")]
    assert [row["artifact"] for row in whole["accuracy"]["rows"]] == files
    assert [m["model"] for m in whole["timing"]["trials"][0]["results"]] == files
    assert [example["picture"] for example in whole["examples"]] == [p.name for p in example_pictures(None).values()]
    assert whole["labels"] == (int8_bundle / "labels.txt").read_text().splitlines()
    assert all(found["reference"]["index"] != found["answer"]["index"] for found in whole["worst"])
    assert (bundle / "manifest.json").read_bytes() == (int8_bundle / "manifest.json").read_bytes()


def test_every_section_shows_what_was_measured(whole: dict[str, Any]) -> None:
    found = Page(Path(whole["bundle"], "report.html").read_text())
    assert tuple(found.text)[1:] == SECTIONS
    accuracy, measured = whole["accuracy"]["rows"][0], whole["timing"]["trials"][0]["results"][0]
    for section, texts in {
        "what": [whole["manifest"]["weights"]["sha256"], "shorter edge has 144 px (bilinear", "inside the model"],
        "files": ["model_int8.tflite", "labels.txt", "partition"],
        "parity": ["ONNX as exported", "passed", "held-out calibration images"],
        "accuracy": [f"{accuracy['top1'] / accuracy['images']:.1%}", "Top-1 agreement", "labelled.csv"],
        "latency": [f"{measured['inference']['median']:.2f}", whole["timing"]["machine"]["cpu"]],
        "sensitivity": ["2 \u00b7 transformer 0", "conv stem", "90.0%"],
        "operators": ["CONV_2D", "QuantizeLinear", "XNNPACK runs"],
        "network": ["inverted residual", "transformer layer", "kind of block", "64\u00d764\u00d716"],
        "examples": ["coffee.jpg", "espresso"],
        "again": ["mvit2-export --variant 0.5 --weights demo", "--quantize full-int8", "2.13"],
    }.items():
        assert [text for text in texts if text not in found.text[section]] == [], section
    assert all("not measured" not in found.text[section] for section in SECTIONS)
    assert "calibrated on crops of the few bundled photographs" in found.text[""]


def test_what_was_not_measured_is_named_with_its_command(bare: Report) -> None:
    empty = dataclasses.replace(bare, examples=(), manifest=dataclasses.replace(bare.manifest, blocks=()))
    found = Page(page(empty))
    for section, text in {
        "accuracy": "not measured; mvit2 report BUNDLE --eval FOLDER",
        "latency": "not measured; mvit2 report BUNDLE measures it",
        "sensitivity": "not measured; mvit2 report BUNDLE --sensitivity FILE",
        "parity": "no quantised file; mvit2-export --quantize int8",
        "network": "lists no blocks; mvit2-export writes them",
        "examples": "no engine was there",
        "worst": "not measured; mvit2 report BUNDLE --eval FOLDER",
    }.items():
        assert text in " ".join(found.text[section].split()), section
    assert "Not measured; `mvit2 report BUNDLE --eval FOLDER`" in model_card(empty)


def test_the_accuracy_of_the_export_is_taken_from_the_manifest(int8_bundle: Path, tmp_path: Path) -> None:
    """mvit2-export --eval leaves hits in the manifest, those of the float32 file behind each quantised one, too."""
    bundle = Path(shutil.copytree(int8_bundle, tmp_path / "b"))
    content = json.loads((bundle / "manifest.json").read_text())
    for artifact in content["artifacts"]:
        if artifact["quantisation"]:
            figures = {"images": 500, "top1": 267, "top5": 428}
            artifact["quantisation"]["fidelity"] |= {"images": 500, "float_accuracy": figures, "accuracy": figures}
    (bundle / "manifest.json").write_text(json.dumps(content))
    accuracy = gather(bundle, {}).accuracy
    assert accuracy is not None and {row.artifact for row in accuracy.rows} == {
        a["file"]["path"] for a in content["artifacts"]
    }
    assert all((row.top1, row.images) == (267, 500) for row in accuracy.rows)
    assert accuracy.rows[0].top1_interval == pytest.approx((0.490, 0.577), abs=1e-3)  # Wilson's


@pytest.mark.parametrize("hits", [(0, 0, 0), (10, 11, 11), (10, 5, 4), (10, -1, 4)])
def test_impossible_accuracy_is_refused(hits: tuple[int, int, int]) -> None:
    with pytest.raises(BundleError, match="export the bundle again"):
        ClassifierRow("model_int8.tflite", "int8", *hits)


def test_a_report_is_the_same_again(whole: dict[str, Any], bare: Report, labelled: Path) -> None:
    """Nothing but measured times may differ: with these from a file, no byte does."""
    assert page(bare) == page(bare) and model_card(bare) == model_card(bare)
    bundle = Path(whole["bundle"])
    before = [(bundle / name).read_bytes() for name in ("report.html", "README.md")]
    given = [labelled, labelled.with_name("sensitivity.json"), labelled.with_name("bench.json")]
    options = [word for pair in zip(("--eval", "--sensitivity", "--bench"), given, strict=True) for word in pair]
    command = [sys.executable, "-m", "mvit2", "report", bundle, *options, "--processes", "2", "--quiet"]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b""
    assert [(bundle / name).read_bytes() for name in ("report.html", "README.md")] == before


def test_the_page_asks_for_nothing(whole: dict[str, Any]) -> None:
    found = Page(Path(whole["bundle"], "report.html").read_text())
    assert not found.tags & {"script", "iframe", "object", "embed", "form"}
    assert all(link.startswith(("#", "data:")) for link in found.links)
    assert len(found.ids) == len(set(found.ids)) > 100  # also of the drawings, which are put into one page


def test_the_front_matter_is_that_of_the_hub(whole: dict[str, Any], bare: Report) -> None:
    front = front_matter(Path(whole["bundle"], "README.md").read_text())
    assert front["pipeline_tag"] == "image-classification" and front["library_name"] == "mvit2"
    results = front["model-index"][0]["results"]
    values = [metric["value"] for result in results for metric in result["metrics"]]
    assert len(results) == len(whole["accuracy"]["rows"]) and all(0 <= value <= 1 for value in values)
    assert "base_model" not in front
    weights = dataclasses.replace(bare.manifest.weights, origin="apple/mobilevitv2-1.0-imagenet1k-256@abc123")
    from_hub = dataclasses.replace(bare, manifest=dataclasses.replace(bare.manifest, weights=weights))
    said = front_matter(model_card(from_hub))
    assert said["base_model"] == "apple/mobilevitv2-1.0-imagenet1k-256" and said["datasets"] == ["imagenet-1k"]
    assert said["license"] == "other" and said["license_link"] == f"https://huggingface.co/{said['base_model']}"
    assert front["license"] == "mit" and front["metrics"] == ["accuracy"] and "datasets" not in front
    weights = dataclasses.replace(bare.manifest.weights, origin="flowers.pt")
    own = dataclasses.replace(bare, manifest=dataclasses.replace(bare.manifest, weights=weights))
    assert front_matter(model_card(own))["license"] == "unknown"


# ---- the command ----


USAGE = [
    (["--threads", "0"], "--threads is '0', accepted: different numbers of 1 to 128"),
    (["--runs", "0"], "--runs is 0, accepted: 1 or more."),
    (["--synsets", "{f}/no"], "--synsets is about labelled images: add --eval FOLDER."),
    (["--split", "val"], "--split is about labelled images: add --eval FOLDER."),
    (["--ignore", "11"], "--ignore is about labelled images: add --eval FOLDER."),
    (["--processes", "2"], "--processes is about labelled images: add --eval FOLDER."),
    (["--pictures", "{f}/no"], "no is no folder; name one with images"),
    (["--eval", "{f}/no"], "no cannot be read as CSV"),
    (["--bench", "{f}/no"], "no cannot be read (No such file or directory). Make one with: mvit2 bench BUNDLE --json"),
    (["--bench", "{f}/list.json"], "list.json is not what is wanted (TypeError"),
    (["--bench", "{f}/words.txt"], "words.txt is not what is wanted (JSONDecodeError"),
    (
        ["--bench", "{f}/large.json"],
        "large.json cannot be read (it has 9000000 bytes, accepted are at most 8388608)",
    ),
    (["--bench", "{f}/sensitivity.json"], "sensitivity.json is not what is wanted (KeyError: 'trials')"),
    (["--bench", "{f}/other.json"], "no artifact of mobilevitv2-0.5-demo20. Make one with: mvit2 bench BUNDLE --json"),
    (["--bench", "{f}/negative.json"], "model_float32.onnx: times that cannot be"),
    (["--sensitivity", "{f}/no"], "no cannot be read (No such file or directory). Make one with: mvit2 sensitivity"),
    (["--sensitivity", "{f}/bench.json"], "bench.json is not what is wanted (KeyError: 'blocks')"),
    (["--sensitivity", "{f}/nan.json"], "expected a finite number"),
    (["--sensitivity", "{f}/none.json"], "(ValueError: 0 blocks). Make one with: mvit2 sensitivity --json > FILE"),
    (["--sensitivity", "{f}/glyphs.json"], "a name, a share or decibels that cannot be"),
]


@pytest.fixture(scope="module")
def wrong_files(folder: Path, bench: Path, sensitivity: Path) -> Path:
    other, negative = json.loads(bench.read_text()), json.loads(bench.read_text())
    for result in other["trials"][0]["results"]:
        result["model"] = "yolo.onnx"
    negative["trials"][0]["results"][0]["inference"]["min"] = -1.0
    block = {"block": "conv_stem", "alone_snr_db": float("nan"), "alone_agreement": 1.0}
    for name, content in {
        "list.json": [1],
        "other.json": other,
        "negative.json": negative,
        "nan.json": {"blocks": [block]},
        "none.json": {"blocks": []},
        "glyphs.json": {"blocks": [block | {"block": "\u6f22", "alone_snr_db": 1.0}]},
    }.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "words.txt").write_text("no JSON")
    (folder / "large.json").write_bytes(b" " * 9_000_000)
    return folder


@pytest.mark.parametrize(
    ("options", "said"), USAGE, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_wrong_usage_is_one_line(
    options: list[str], said: str, int8_bundle: Path, wrong_files: Path, refused: Callable[..., str]
) -> None:
    refused(2, said, "report", int8_bundle, *(word.format(f=wrong_files) for word in options))


def test_a_readme_of_somebody_else_is_left_alone(demo_bundle: Path, tmp_path: Path, run: Run) -> None:
    bundle = Path(shutil.copytree(demo_bundle, tmp_path / "b"))
    (bundle / "README.md").write_text("mine")
    done = run("report", bundle, "--runs", 1)
    assert done.returncode == 0 and "README.md was not written by mvit2 and is left alone" in done.stderr
    assert (bundle / "README.md").read_text() == "mine"
    assert done.stdout.splitlines() == [
        f"written: {bundle}/report.html",
        f"next: open {bundle}/report.html in a browser   or   mvit2 check {bundle}",
    ]


def test_what_cannot_be_written_leaves_nothing(demo_bundle: Path, tmp_path: Path, run: Run) -> None:
    bundle = Path(shutil.copytree(demo_bundle, tmp_path / "b", ignore=shutil.ignore_patterns("report.html")))
    (bundle / "report.html").mkdir()
    before = sorted(p.name for p in bundle.iterdir())
    done = run("report", bundle, "--runs", 1)
    assert done.returncode == 1 and "report.html is a folder; remove it" in done.stderr
    assert sorted(p.name for p in bundle.iterdir()) == before


def test_pictures_of_ones_own(demo_bundle: Path, photos: Path, tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"{i:02}").mkdir()
        shutil.copy(photos / "cat.jpg", tmp_path / f"{i:02}")
    chosen = example_pictures(tmp_path)
    assert len(chosen) == 12 and list(chosen)[:3] == ["00/cat.jpg", "02/cat.jpg", "05/cat.jpg"]
    report = gather(demo_bundle, dict(list(chosen.items())[:2]))
    assert [e.picture for e in report.examples] == ["00/cat.jpg", "02/cat.jpg"]
    assert report.examples[0].artifacts == ("model_float32.onnx", "model_float16.tflite")


# ---- as the last step of an export ----


def test_an_export_writes_it(demo_bundle: Path, run: Run, photos: Path) -> None:
    """And nothing that reads a bundle minds."""
    found = Page((demo_bundle / "report.html").read_text())
    assert tuple(found.text)[1:] == SECTIONS
    assert "model_float16.tflite" in found.text["latency"] and "coffee.jpg" in found.text["examples"]
    assert front_matter((demo_bundle / "README.md").read_text())["library_name"] == "mvit2"
    listed = (demo_bundle / "manifest.json").read_text()
    assert "report.html" not in listed and "README.md" not in listed
    for command in (["check", demo_bundle], ["predict", demo_bundle, photos / "cat.jpg"], ["info", demo_bundle]):
        assert run(*command).returncode == 0


class Heard:
    """A listener that keeps the warnings."""

    def __init__(self) -> None:
        from contextlib import nullcontext

        self.warnings: list[str] = []
        self.step = lambda title: nullcontext()
        self.warn = self.warnings.append
        self.table = lambda title, columns, rows: None


@pytest.mark.exports
def test_an_export_survives_a_report_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)  # as where it is not installed
    heard = Heard()
    request = ExportRequest(weights="demo", variant="0.5", formats=("onnx",), output=tmp_path)
    bundle = export(request, heard).bundle
    assert len(heard.warnings) == 1 and "no report was written (MissingEngineError: jinja2" in heard.warnings[0]
    assert not (bundle / "report.html").exists() and read_manifest(bundle).artifacts


@pytest.mark.exports
def test_no_report(tmp_path: Path, run: Run) -> None:
    options = ("--weights", "demo", "--variant", "0.5", "--format", "onnx", "--no-report")
    done = run("export", *options, "--output", tmp_path)
    assert done.returncode == 0 and "report.html" not in done.stdout
    (bundle,) = tmp_path.iterdir()
    assert {p.name for p in bundle.iterdir()} == {"model_float32.onnx", "labels.txt", "golden", "manifest.json"}
