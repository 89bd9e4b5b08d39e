"""Places by their names, what they take, and what they say is missing."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from mvit2.bundle.manifest import read_manifest
from mvit2.bundle.proofs import PLACES
from mvit2.errors import Mvit2Error, UsageError
from mvit2.runtime.accelerators import litert_gpu
from mvit2.runtime.accelerators.prove import require_places
from mvit2.runtime.accelerators.table import ACCELERATORS, parse_places

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
NAMES = ["litert-gpu", "qnn-htp", "ethos-u", "fp16", "opencv"]


@pytest.mark.parametrize(
    ("words", "places"),
    [
        ([], []),
        (["fp16"], ["fp16"]),
        (["qnn-htp"], ["qnn-htp:8gen2"]),
        (["qnn-htp:8gen3", "fp16", "qnn-htp"], ["qnn-htp:8gen3", "fp16", "qnn-htp:8gen2"]),
        (["fp16", "fp16"], ["fp16"]),
        (["all"], ["litert-gpu", "qnn-htp:8gen2", "ethos-u:u55-256", "fp16", "opencv"]),
        (["ethos-u:u85-256", "all"], ["ethos-u:u85-256", "litert-gpu", "qnn-htp:8gen2", "ethos-u:u55-256", "fp16"]),
    ],
)
def test_names(words: list[str], places: list[str]) -> None:
    assert [place.name for place in parse_places("--on", words)][: len(places)] == places


def test_what_is_named_beside_all_is_not_optional() -> None:
    optional = {place.name: place.optional for place in parse_places("--on", ["all", "fp16"])}
    assert (optional["fp16"], optional["opencv"]) == (False, True)


@pytest.mark.parametrize(
    ("word", "suggested"),
    [
        ("litertgpu", "'litert-gpu'"),
        ("FP16", "'fp16'"),
        ("qnn", "'qnn-htp'"),
        ("ethos", "'ethos-u'"),
        ("al", "'all'"),
        ("qnn-htp:8gen4", "'8gen3'"),
        ("ethos-u:u55-265", "'u55-256'"),
    ],
)
def test_a_near_miss_is_named(word: str, suggested: str) -> None:
    with pytest.raises(UsageError, match=re.escape(word)) as caught:
        parse_places("--on", [word])
    assert suggested in str(caught.value)


@pytest.mark.parametrize("word", ["", "banana", ":8gen2", "fp16:half", "qnn-htp:", "x" * 10**5])
def test_an_unknown_one_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="unknown") as caught:
        parse_places("--on", [word])
    assert len(str(caught.value)) < 400


def test_the_table_is_named_after_its_rows() -> None:
    assert list(ACCELERATORS) == NAMES
    assert {name: len(row.chips) > 1 for name, row in ACCELERATORS.items()} == PLACES and list(PLACES) == NAMES
    assert all(name == row.name and row.title and row.note for name, row in ACCELERATORS.items())


@pytest.mark.parametrize(
    ("accelerator", "taken"),
    [
        ("litert-gpu", ["float32.tflite", "dynamic.tflite", "int8.tflite", "full_int8.tflite"]),
        ("qnn-htp", ["float32.onnx", "int8.onnx"]),
        ("ethos-u", ["int8.tflite", "full_int8.tflite"]),
        ("fp16", ["float32.onnx"]),
        ("opencv", ["float32.onnx"]),
    ],
)
def test_what_they_take(accelerator: str, taken: list[str], int8_bundle: Path) -> None:
    row = ACCELERATORS[accelerator]
    artifacts = read_manifest(int8_bundle).artifacts
    takes = {a.file.path.removeprefix("model_") for a in artifacts if row.takes(a) is None}
    assert takes - {"float16.tflite"} == set(taken)
    assert all(reason for a in artifacts if (reason := row.takes(a)) is not None)


@pytest.mark.parametrize(
    ("accelerator", "library"),
    [
        ("litert-gpu", "ai_edge_litert"),
        ("qnn-htp", "onnxruntime_qnn"),
        ("ethos-u", "ethosu"),
        ("fp16", "onnx"),
        ("opencv", "cv2"),
    ],
)
def test_what_is_missing_is_one_line_that_says_what_to_install(
    accelerator: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    lacking = ACCELERATORS[accelerator].missing()
    assert lacking is not None and "\n" not in lacking
    extra = re.search(r"mvit2\[([\w-]+)\]", lacking)
    assert extra is not None and extra[1] == ACCELERATORS[accelerator].extra
    assert extra[1] in EXTRAS
    with pytest.raises(Mvit2Error, match=rf"^{accelerator}.*install"):
        require_places(parse_places("--on", [accelerator]))
    usable, skipped = require_places(parse_places("--on", ["all"]))
    assert [one.place.split(":")[0] for one in skipped if one.reason == lacking] == [accelerator]
    assert all(place.accelerator.name != accelerator for place in usable)


def test_no_default_installation_brings_them() -> None:
    needed = "".join(EXTRAS[extra][0] for extra in ("qnn", "ethos-u", "opencv"))
    assert "onnxruntime-qnn" in needed and "ethos-u-vela" in needed and "opencv" in needed
    for extra in ("cli", "ort", "litert", "export"):
        assert not re.search("qnn|ethos|opencv", " ".join(EXTRAS[extra]))


# ---- the Vulkan driver ----


def _driver(folder: Path) -> Path:
    folder.mkdir(parents=True)
    file = folder / "vk_swiftshader_icd.json"
    file.write_text("{}")
    return file


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without a GPU, without Chromium; returns where Playwright's would be."""
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(litert_gpu, "_CHROMIUM", (str(tmp_path / "chromium"),))
    monkeypatch.setattr(litert_gpu, "_has_gpu", lambda: False)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "playwright"))
    return tmp_path


def test_without_a_driver_it_says_where_to_get_one(nothing: Path) -> None:
    pytest.importorskip("ai_edge_litert.compiled_model")
    lacking = ACCELERATORS["litert-gpu"].missing()
    assert lacking is not None and "chromium" in lacking and "VK_DRIVER_FILES" in lacking


@pytest.mark.parametrize("folder", ["chromium", "playwright/chromium-1200/chrome-linux"])
def test_swiftshader_is_found(folder: str, nothing: Path) -> None:
    file = _driver(nothing / folder)
    assert litert_gpu.vulkan_driver() == file
    assert ACCELERATORS["litert-gpu"].missing() is None


def test_a_named_driver_comes_first(nothing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _driver(nothing / "chromium")
    mine = _driver(nothing / "mine")
    monkeypatch.setenv("VK_DRIVER_FILES", str(mine))
    assert litert_gpu.vulkan_driver() == mine
    monkeypatch.setenv("VK_DRIVER_FILES", str(nothing / "missing.json"))
    assert litert_gpu.vulkan_driver() is None
