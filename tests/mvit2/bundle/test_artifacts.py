"""What an artifact may be: a folder, of several outputs, never compared with torch; a task without classes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from mvit2 import tasks
from mvit2.bundle.files import FileRecord, record_folder
from mvit2.bundle.manifest import (
    Artifact,
    GraphFacts,
    Manifest,
    TensorFacts,
    read_labels,
    read_manifest,
    verified_artifact,
    write_manifest,
)
from mvit2.errors import BundleError, CheckFailed, MissingEngineError
from mvit2.export.apps.templates import content, render
from mvit2.export.cli.commands import check as check_command
from mvit2.export.describe import describe_bundle
from mvit2.export.report.gather import gather
from mvit2.export.report.model_card import model_card
from mvit2.runtime import check_bundle
from mvit2.runtime.verify import check
from mvit2.tasks import CLASSIFY

OLD = Path(__file__).parents[2] / "golden" / "bundles" / "schema_3"
MODEL = "model_float32.onnx"
TENSOR = TensorFacts("image", "uint8", (1, 64, 64, 3))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small bundle of today."""
    folder = Path(shutil.copytree(OLD, tmp_path / "bundle"))
    write_manifest(folder, read_manifest(folder))
    return folder


# ---- folders ----


@pytest.fixture
def packed(bundle: Path) -> tuple[Path, Artifact]:
    """A model that is a folder, as it is after an export, and what its manifest says of it."""
    folder = bundle / "package.onnx"
    (folder / "weights").mkdir(parents=True)
    (folder / "graph.pb").write_bytes(b"graph")
    (folder / "weights" / "w.bin").write_bytes(bytes(range(256)))
    file, files = record_folder(bundle, "package.onnx")
    graph = GraphFacts({"Conv": 1}, 4, 0)
    return bundle, Artifact(
        file, "onnxruntime", "float32", TENSOR, (TENSOR,), graph, unverified="not run here", files=files
    )


def test_the_record_of_a_folder(packed: tuple[Path, Artifact]) -> None:
    bundle, artifact = packed
    assert [part.path for part in artifact.parts] == ["package.onnx/graph.pb", "package.onnx/weights/w.bin"]
    assert artifact.file.bytes == 5 + 256
    assert verified_artifact(bundle, artifact) == bundle / "package.onnx"


DAMAGE: list[tuple[Callable[[Path], Any], str]] = [
    (lambda f: (f / "graph.pb").write_bytes(b"grabh"), "graph.pb was changed"),
    (lambda f: (f / "graph.pb").unlink(), "graph.pb is missing"),
    (lambda f: shutil.rmtree(f / "weights"), "w.bin is missing"),
    (lambda f: (f / "weights" / "more.bin").write_bytes(b""), "holds 'package.onnx/weights/more.bin', which the man"),
    (lambda f: (f / ".hidden").write_bytes(b""), "holds 'package.onnx/.hidden', which the manifest does not list"),
    (lambda f: (f / "link").symlink_to(f / "graph.pb"), "holds 'package.onnx/link'"),
    (lambda f: (f / "link").symlink_to(f.parent.parent), "holds 'package.onnx/link'"),
    (lambda f: (f / "loop").symlink_to(f), "holds 'package.onnx/loop'"),
    (lambda f: f.rename(f.with_name("other")), "graph.pb is missing"),
]


@pytest.mark.parametrize(("damage", "wrong"), DAMAGE)
def test_a_folder_that_is_not_as_recorded_is_refused(
    damage: Callable[[Path], Any], wrong: str, packed: tuple[Path, Artifact]
) -> None:
    bundle, artifact = packed
    damage(bundle / "package.onnx")
    with pytest.raises(BundleError) as caught:
        verified_artifact(bundle, artifact)
    assert wrong in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_that_leads_out_is_refused(packed: tuple[Path, Artifact], tmp_path: Path) -> None:
    bundle, artifact = packed
    (bundle / "package.onnx").rename(tmp_path / "outside")
    (bundle / "package.onnx").symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match="leads out of the bundle"):
        verified_artifact(bundle, artifact)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda a: {"files": a.files[:1]}, "is not that of the 1 files it lists"),
        (lambda a: {"files": (*a.files, a.files[0])}, "is not that of the 3 files it lists"),
        (lambda a: {"files": (replace(a.files[0], sha256="00" * 32), a.files[1])}, "is not that of the 2 files"),
        (lambda a: {"files": (FileRecord("package.onnx", 5, "00"),)}, "lists 'package.onnx' as a part of package.onnx"),
        (lambda a: {"files": (FileRecord("package.onnxx/y", 5, "00"),)}, "accepted: files inside it"),
        (lambda a: {"file": replace(a.file, bytes=1)}, "is not that of the 2 files it lists"),
        (lambda a: {"unverified": ""}, "unverified: '', accepted: 1 to 300 printable characters"),
        (lambda a: {"unverified": "a\nb"}, r"unverified: 'a\\nb', accepted"),
    ],
)
def test_a_manifest_that_contradicts_itself(change: Any, wrong: str, packed: tuple[Path, Artifact]) -> None:
    artifact = packed[1]
    with pytest.raises(BundleError, match=wrong):
        replace(artifact, **change(artifact))


@pytest.mark.parametrize("path", ["package.onnx/../x", "package.onnx//x", "/package.onnx/x", "package.onnx/.x"])
def test_no_part_leads_out(path: str) -> None:
    with pytest.raises(BundleError, match="accepted are plain relative paths"):
        FileRecord(path, 1, "00")


# ---- never compared with torch ----


def _with(bundle: Path, **changes: object) -> Manifest:
    manifest = read_manifest(bundle)
    first, *others = manifest.artifacts
    write_manifest(bundle, replace(manifest, artifacts=(replace(first, **changes), *others)))
    return read_manifest(bundle)


def test_what_can_run_here_is_compared_all_the_same(bundle: Path) -> None:
    assert _with(bundle, parity=None, unverified="no Mac here").unverified == {MODEL: "no Mac here"}
    report = check_bundle(bundle)
    assert report.passed and report.unverified == () and len(report.differences) == 2


@pytest.fixture
def mac_only(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of which one file is for an engine that no machine of ours has."""

    def open_artifact(bundle: Path, manifest: Manifest, artifact: Artifact, threads: int | None) -> Any:
        if artifact.unverified is not None:
            raise MissingEngineError("coremltools", "coreml")
        return opened(bundle, manifest, artifact, threads)

    opened = check.open_artifact
    monkeypatch.setattr(check, "open_artifact", open_artifact)
    _with(bundle, parity=None, unverified="no Mac here")
    return bundle


def test_what_cannot_run_here_is_listed(mac_only: Path) -> None:
    report = check_bundle(mac_only)
    assert report.passed and report.unverified == ((MODEL, "no Mac here"),)
    assert [file for file, _ in report.skipped] == [MODEL]


def test_the_command_says_it_and_strict_fails(mac_only: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_command.check(mac_only)
    assert "model_float32.onnx is not verified: no Mac here" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(CheckFailed, match=r"--strict: model_float32\.onnx was never compared with torch"):
        check_command.check(mac_only, strict=True)


def test_what_is_said_elsewhere(bundle: Path) -> None:
    manifest = _with(bundle, parity=None, unverified="no Mac here")
    tables, _ = describe_bundle(bundle)
    assert any("not verified: no Mac here" in row for row in dict((t[0], t[2]) for t in tables)["artifacts"][0])
    values = content(manifest, manifest.artifacts[:1], ())
    assert "| not verified: no Mac here |" in render("shared/model.md.jinja", values)
    report = gather(bundle, {})
    assert "model_float32.onnx was not verified: no Mac here." in report.warnings
    assert "not verified: no Mac here" in model_card(report)


# ---- looked up by name ----


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("model_flaot32.onnx", "has no artifact 'model_flaot32.onnx'. Did you mean 'model_float32.onnx'"),
        ("", "has no artifact ''. It holds: model_float32.onnx, model_int8.onnx."),
    ],
)
def test_no_such_artifact(name: str, wrong: str) -> None:
    with pytest.raises(BundleError) as caught:
        read_manifest(OLD).artifact(name)
    assert wrong in str(caught.value)


def test_an_artifact_by_its_name() -> None:
    assert read_manifest(OLD).artifact(MODEL).precision == "float32"


# ---- tasks without classes ----


def test_a_task_without_classes(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, row = read_manifest(bundle), replace(CLASSIFY, labelled=None)
    monkeypatch.setattr(tasks, "TASKS", MappingProxyType({row.name: row}))
    with pytest.raises(BundleError, match="has 3 classes for image-classification, accepted: none"):
        read_manifest(bundle)
    bare = replace(manifest, classes=None)
    assert read_labels(bundle, bare) == ()
    with pytest.raises(BundleError, match="which has no classes"):
        print(bare.class_count)
