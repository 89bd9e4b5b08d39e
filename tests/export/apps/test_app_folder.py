"""The folders that ``mvit2 app`` writes for apps: what lies where, and what their READMEs say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mvit2.bundle.manifest import SCHEMA_VERSION, read_labels, read_manifest
from mvit2.bundle.measurements import Accuracy, Fidelity, MaskAccuracy, Quantisation
from mvit2.difference import Measure
from mvit2.export.apps.targets import TARGETS
from mvit2.export.apps.templates import VERSIONS, content, render
from mvit2.export.apps.wording import APP_TASKS
from mvit2.runtime import check_bundle
from mvit2.runtime.verify.golden import GOLDEN
from mvit2.runtime.web.served import PAGE

Run = Callable[..., subprocess.CompletedProcess[str]]
Files = dict[str, bytes]
NODE = shutil.which("node")
ONNX, FLOAT32, FLOAT16 = "model_float32.onnx", "model_float32.tflite", "model_float16.tflite"


def _files(folder: Path) -> Files:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def apps(run: Run, demo_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo bundle for every platform, as the command writes it by default."""
    parent = tmp_path_factory.mktemp("apps")
    for platform in TARGETS:
        done = run("app", "--target", platform, demo_bundle, "--output", parent)
        assert done.returncode == 0, done.stderr
    return parent


def _app(apps: Path, platform: str) -> Path:
    return apps / f"mobilevitv2-0.5-demo20-{platform}"


# ---- what lies where ----

GOLDEN_FILES = {"golden.json", f"{FLOAT16}.f32", "black.rgb", "white.rgb", "checkerboard.rgb"} | {
    f"{name}.{end}" for name in ("astronaut", "cat", "coffee", "rocket", "tripod") for end in ("png", "rgb")
}
SOURCES = ("", "Classifier", "LiteRt", "Manifest", "Model", "Picture", "Scores")
SCRIPTS = ("bundle", "classifier", "engines", "masks", "mvit2", "segmenter")
EXPECTED = {
    "android": {
        *("README.md", "build.gradle.kts", "src/main/AndroidManifest.xml"),
        *(f"src/main/kotlin/mvit2/Mvit2{part}.kt" for part in (*SOURCES, "Bitmap")),
        *(f"src/test/kotlin/mvit2/{name}.kt" for name in ("Golden", "Png", "PreprocessingTest")),
        *(f"src/androidTest/kotlin/mvit2/{name}.kt" for name in ("Golden", "GoldenTest")),
    },
    "ios": {
        *("README.md", "Package.swift", "Sources/Mvit2/Resources.swift", "Tests/Mvit2Tests/GoldenTests.swift"),
        *(f"Sources/Mvit2/Mvit2{part}.swift" for part in (*SOURCES, "Image", "Resize")),
    },
    "web": {
        *("README.md", "collect-engines.mjs", "golden.test.mjs"),
        *(f"mvit2/{name}.{end}" for name in SCRIPTS for end in ("mjs", "d.mts")),
        *(path.name for path in PAGE.iterdir() if path.is_file()),
    },
}


@pytest.mark.parametrize("platform", TARGETS)
def test_what_lies_where(platform: str, apps: Path, demo_bundle: Path) -> None:
    target, found = TARGETS[platform], _files(_app(apps, platform))
    model = {f"{target.model}/{name}" for name in (FLOAT16, "labels.txt", "manifest.json")}
    golden = {f"{target.golden}/golden/{name}" for name in GOLDEN_FILES}
    assert set(found) == EXPECTED[platform] | model | golden
    for name in (FLOAT16, "labels.txt"):
        assert found[f"{target.model}/{name}"] == (demo_bundle / name).read_bytes()
    assert found[f"{target.golden}/{GOLDEN}"] == (demo_bundle / GOLDEN).read_bytes()


@pytest.mark.parametrize("platform", TARGETS)
def test_the_manifest_lists_what_is_there(platform: str, apps: Path) -> None:
    folder = _app(apps, platform) / TARGETS[platform].model
    manifest = read_manifest(folder)
    assert [a.file.path for a in manifest.artifacts] == [FLOAT16]
    assert len(read_labels(folder, manifest)) == 20
    assert all((folder / file.path).is_file() for file in manifest.files)


def test_the_bundle_in_a_web_folder_is_a_bundle(apps: Path) -> None:
    assert check_bundle(_app(apps, "web") / "bundle").passed


@pytest.mark.skipif(NODE is None, reason="THE WEB FOLDER IS NOT TESTED: no Node 20 or later")
def test_the_web_folder_passes_its_own_test(apps: Path) -> None:
    command = [str(NODE), "--test", "--test-reporter=tap"]
    done = subprocess.run(command, cwd=_app(apps, "web"), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "# pass 6\n" in done.stdout, done.stdout


@pytest.mark.skipif(NODE is None, reason="THE WEB FOLDER IS NOT TESTED: no Node 20 or later")
@pytest.mark.parametrize("output_kind", ["scores", "mask"])
def test_the_web_folder_of_a_segmentation_network(
    output_kind: str, run: Run, segments: ModuleType, tmp_path: Path
) -> None:
    bundle = segments.write_bundle(tmp_path / "b", output_kind=output_kind)
    done = run("app", "--target", "web", bundle)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "b-web" / "README.md").read_text(encoding="utf-8")
    assert "Mvit2Segmenter.open(" in text and "Mvit2Classifier" not in text and "softmax" not in text
    command = [str(NODE), "--test", "--test-reporter=tap"]
    done = subprocess.run(command, cwd=tmp_path / "b-web", capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "# pass 1\n" in done.stdout, done.stdout


@pytest.mark.parametrize("output_kind", ["scores", "mask"])
@pytest.mark.parametrize("platform", ["android", "ios"])
def test_the_app_folder_of_a_segmentation_network(
    platform: str, output_kind: str, run: Run, segments: ModuleType, tmp_path: Path
) -> None:
    """The sources of its task and its engine alone; what the README says is about masks."""
    bundle = segments.write_bundle(tmp_path / "b", output_kind=output_kind)
    done = run("app", "--target", platform, bundle)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / f"b-{platform}"
    sources, expected = (
        {Path(name).stem for name in names if Path(name).name.startswith("Mvit2")}
        for names in (_files(folder), EXPECTED[platform])
    )
    swapped = {"Mvit2Classifier": "Mvit2Segmenter", "Mvit2Scores": "Mvit2Mask", "Mvit2LiteRt": "Mvit2Onnx"}
    assert sources == {swapped.get(name, name) for name in expected}
    readme = (folder / "README.md").read_text(encoding="utf-8")
    tests = "".join(path.read_text() for path in folder.rglob("GoldenTest*"))
    assert "Mvit2Segmenter" in readme and "Mvit2Segmenter" in tests
    assert not re.search("classif|softmax|log-prob|logarithm", readme, re.IGNORECASE) and "Classifier" not in tests
    facts = {
        "scores": ("every class's logits", "largest error of a logit", "logits, by their range"),
        "mask": ("the class of every pixel", "largest share of pixels of another class", "shares of an image's pixels"),
    }[output_kind]
    assert all(fact in readme for fact in facts) and len(readme.splitlines()) < 110


def test_two_runs_give_the_same_bytes(run: Run, apps: Path, demo_bundle: Path, tmp_path: Path) -> None:
    for platform in TARGETS:
        assert run("app", "--target", platform, demo_bundle, "-o", tmp_path).returncode == 0
        assert _files(_app(tmp_path, platform)) == _files(_app(apps, platform))


# ---- the README of each ----


def test_the_readme_states_what_the_build_file_asks_for(apps: Path) -> None:
    android, ios = (_app(apps, platform) for platform in ("android", "ios"))
    line = f'implementation("com.google.ai.edge.litert:litert:{VERSIONS["litert"]}")'
    assert line in (android / "build.gradle.kts").read_text() and line in (android / "README.md").read_text()
    package = f'.package(url: "https://github.com/google-ai-edge/LiteRT", branch: "release/{VERSIONS["litert"]}")'
    assert package in (ios / "Package.swift").read_text() and package in (ios / "README.md").read_text()
    locked = json.loads((_app(apps, "web") / "package.json").read_text())["dependencies"]
    for name, version in locked.items():
        assert f"{name} {version}" in (_app(apps, "web") / "README.md").read_text()


@pytest.mark.parametrize("platform", TARGETS)
def test_the_readme_is_one_page_of_facts(platform: str, apps: Path, demo_bundle: Path) -> None:
    text = (_app(apps, platform) / "README.md").read_text(encoding="utf-8")
    (parity,) = (a.parity for a in read_manifest(demo_bundle).artifacts if a.file.path == FLOAT16)
    assert parity is not None and f"{parity.max_relative:.1e}" in text
    for fact in (
        FLOAT16,
        "2.4 MB",
        "uint8 `[1, 128, 128, 3]`",
        "| classes | 20,",
        "0 differing bytes of every golden image",
    ):
        assert fact in text.replace("\n", " "), fact
    assert len(text.splitlines()) < 110 and str(demo_bundle.parent) not in text


def test_names_from_outside_are_only_text(demo_bundle: Path) -> None:
    manifest = read_manifest(demo_bundle)
    evil = replace(manifest, name="a`b | <script>\n# c", weights=replace(manifest.weights, name="", origin="[x](y)"))
    values = content(evil, manifest.artifacts, ()) | {"folder": "folder"}
    for platform in TARGETS:
        text = render(f"{platform}/README.md.jinja", values)
        assert text.startswith("# `a'b ¦ <script> # c` ") and "weights -, from `[x](y)`" in text


def test_two_files_for_two_engines(run: Run, demo_bundle: Path, tmp_path: Path) -> None:
    options = ("--artifact", ONNX, "--artifact", FLOAT32, "--artifact", ONNX)
    done = run("app", "--target", "android", demo_bundle, "-o", tmp_path, *options, "--json")
    answer = json.loads(done.stdout)
    folder = _app(tmp_path, "android")
    assert (answer["folder"], answer["target"], answer["warnings"]) == (str(folder), "android", [])
    assert list(answer["artifacts"]) == [ONNX, FLOAT32]
    assert answer["files"] == len(_files(folder)) and answer["bytes"] == sum(map(len, _files(folder).values()))
    build = (folder / "build.gradle.kts").read_text()
    assert "litert:litert:" in build and "onnxruntime-android:" in build and 'listOf("onnx", "tflite")' in build
    assert {f"src/main/kotlin/mvit2/Mvit2{engine}.kt" for engine in ("LiteRt", "Onnx")} < set(_files(folder))


def test_only_its_own_folders_are_replaced(run: Run, demo_bundle: Path, tmp_path: Path) -> None:
    command = ("app", demo_bundle, "--target", "ios", "-o", tmp_path)
    folder = _app(tmp_path, "ios")
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    assert "exists already; replace it with --overwrite" in run(*command).stderr
    done = run(*command, "--overwrite")
    assert done.returncode == 1 and "--overwrite will not replace it: remove it" in done.stderr
    assert _files(folder) == {"README.md": b"mine"}
    shutil.rmtree(folder)
    assert run(*command).returncode == 0
    (folder / "README.md").write_text("changed")
    assert run(*command).returncode == 1 and (folder / "README.md").read_text() == "changed"
    assert run(*command, "--overwrite").returncode == 0 and (folder / "README.md").read_text() != "changed"


def test_the_sources_read_this_schema() -> None:
    sources = PAGE.parents[1] / "sources"
    for file in ("kotlin/Mvit2Manifest.kt", "swift/Mvit2Manifest.swift", "js/bundle.mjs"):
        (number,) = re.findall(
            r"(?:SCHEMA_VERSION|schemaVersion) = (\d+)", (sources / file).read_text(encoding="utf-8")
        )
        assert int(number) == SCHEMA_VERSION, file


@pytest.mark.parametrize(
    ("measure", "accuracies", "said"),
    [
        (
            "logits",
            (MaskAccuracy(9, 0.5, 0.8, (0.5,)), MaskAccuracy(9, 0.512, 0.8, (0.5,))),
            "pixel agreement with float32 97.3% on 9 evaluation images, 21.9 dB; mIoU 50.0%, float32 51.2%",
        ),
        ("masks", (None, None), "pixel agreement with float32 97.3% on 9 evaluation images, 21.9 dB |"),
        (
            "probabilities",
            (Accuracy(9, 3, 5), Accuracy(9, 6, 7)),
            "top-1 agreement with float32 97.3% on 9 evaluation images, 21.9 dB; top-1 33.3%, float32 66.7%",
        ),
    ],
)
def test_how_near_a_quantised_model_is(measure: Measure, accuracies: Any, said: str, demo_bundle: Path) -> None:
    manifest = read_manifest(demo_bundle)
    ours, theirs = accuracies
    fidelity = Fidelity("evaluation pictures", 9, 0.973, 21.9, 0.1, theirs, ours)
    quantised = replace(
        manifest.artifacts[0], precision="int8", parity=None, quantisation=Quantisation("none", (), {}, fidelity)
    )
    values = content(replace(manifest, artifacts=(quantised,)), (quantised,), ()) | {"task": APP_TASKS[measure]}
    assert said in render("shared/model.md.jinja", values)
