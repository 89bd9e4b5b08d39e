"""A folder that a developer copies into an app: model, labels, manifest, sources, golden vectors as a test, README.

What goes where is a table, a row for each platform.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mvit2.manifest import LABELS, Artifact, Engine, FileRecord, Manifest, TaskName, verified_path, write_manifest
from mvit2.runtime.golden import GOLDEN, read_golden
from mvit2.runtime.serve import PAGE
from mvit2.tasks import CLASSIFY, SEGMENT

from .app_templates import TEMPLATES, render

__all__ = ["TARGETS", "Target", "write_app"]

_RUNTIME = PAGE.parent


@dataclass(frozen=True)
class Target:
    """Where things lie in the folder of a platform.

    Attributes:
        model: the folder of model files, labels.txt and manifest.json.
        golden: the folder in which golden/ lies.
        sources: files of runtime/ -> their folder.
        only: sources that an app takes only for this engine, or this task.
        texts: files of apps/PLATFORM, of which those ending in .jinja are filled -> where they go.
        next: what to do with the folder.
    """

    model: str
    golden: str
    sources: Mapping[str, str]
    only: Mapping[str, Engine | TaskName]
    texts: Mapping[str, tuple[str, ...]]
    next: str


TARGETS: Final[Mapping[str, Target]] = {
    "android": Target(
        model="src/main/assets/mvit2",
        golden="src/androidTest/assets",
        sources={"sources/kotlin/*.kt": "src/main/kotlin/mvit2"},
        only={
            "Mvit2LiteRt.kt": "litert",
            "Mvit2Onnx.kt": "onnxruntime",
            **dict.fromkeys(("Mvit2Classifier.kt", "Mvit2Scores.kt"), CLASSIFY.manifest),
            **dict.fromkeys(("Mvit2Segmenter.kt", "Mvit2Mask.kt"), SEGMENT.manifest),
        },
        texts={
            "README.md.jinja": ("README.md",),
            "build.gradle.kts.jinja": ("build.gradle.kts",),
            "AndroidManifest.xml": ("src/main/AndroidManifest.xml",),
            "Golden.kt": ("src/test/kotlin/mvit2/Golden.kt", "src/androidTest/kotlin/mvit2/Golden.kt"),
            "Png.kt": ("src/test/kotlin/mvit2/Png.kt",),
            "PreprocessingTest.kt": ("src/test/kotlin/mvit2/PreprocessingTest.kt",),
            "GoldenTest.kt.jinja": ("src/androidTest/kotlin/mvit2/GoldenTest.kt",),
        },
        next="take it into settings.gradle.kts as its README.md says, and run ./gradlew :mvit2:test",
    ),
    "ios": Target(
        model="Sources/Mvit2/model",
        golden="Tests/Mvit2Tests",
        sources={"sources/swift/*.swift": "Sources/Mvit2"},
        only={
            "Mvit2LiteRt.swift": "litert",
            "Mvit2Onnx.swift": "onnxruntime",
            **dict.fromkeys(("Mvit2Classifier.swift", "Mvit2Scores.swift"), CLASSIFY.manifest),
            **dict.fromkeys(("Mvit2Segmenter.swift", "Mvit2Mask.swift"), SEGMENT.manifest),
        },
        texts={
            "README.md.jinja": ("README.md",),
            "Package.swift.jinja": ("Package.swift",),
            "Resources.swift.jinja": ("Sources/Mvit2/Resources.swift",),
            "GoldenTests.swift.jinja": ("Tests/Mvit2Tests/GoldenTests.swift",),
        },
        next="add it to the app in Xcode as a local package, as its README.md says, and run its tests",
    ),
    "web": Target(
        model="bundle",
        golden="bundle",
        sources={"sources/js/*": "mvit2", "page/*": "."},
        only={},
        texts={
            "README.md.jinja": ("README.md",),
            "collect-engines.mjs.jinja": ("collect-engines.mjs",),
            "golden.test.mjs": ("golden.test.mjs",),
        },
        next="in that folder: npm ci --ignore-scripts && node collect-engines.mjs && node --test, then serve it",
    ),
}


def write_app(folder: Path, platform: str, bundle: Path, values: Mapping[str, Any]) -> None:
    """Fill ``folder``, which is empty; the same bundle gives the same bytes.

    ``values`` is app_templates.content. Raises BundleError: the bundle is damaged, or has no golden vectors.
    """
    target, manifest, artifacts = TARGETS[platform], values["manifest"], values["artifacts"]
    golden = _golden_files(bundle, manifest, artifacts)
    labels = [file for file in manifest.files if file.path == LABELS]
    _copy(bundle, [*(artifact.file for artifact in artifacts), *labels], folder / target.model)
    _copy(bundle, golden, folder / target.golden)
    kept = (*labels, *(golden if target.golden == target.model else ()))
    write_manifest(folder / target.model, replace(manifest, artifacts=tuple(artifacts), files=kept))
    _sources(folder, target, {*values["engines"], manifest.task})
    for name, places in target.texts.items():
        template = f"{platform}/{name}"
        filled = name.endswith(".jinja")
        text = render(template, values) if filled else (TEMPLATES / template).read_text(encoding="utf-8")
        for place in places:
            _parent(folder / place).write_text(text, encoding="utf-8")


def _golden_files(bundle: Path, manifest: Manifest, artifacts: Sequence[Artifact]) -> list[FileRecord]:
    """All but the scores of model files that stay behind."""
    read_golden(bundle, manifest)  # refuses what a test could not use
    scores = json.loads((bundle / GOLDEN).read_text(encoding="utf-8"))["scores"]
    taken = {scores[a.file.path]["file"] for a in artifacts}
    left = {one["file"] for one in scores.values()} - taken
    return [file for file in manifest.files if file.path.startswith("golden/") and file.path not in left]


def _copy(bundle: Path, files: Sequence[FileRecord], folder: Path) -> None:
    """Raises BundleError: a file is not what the manifest says."""
    for file in files:
        shutil.copyfile(verified_path(bundle, file), _parent(folder / file.path))


def _sources(folder: Path, target: Target, needed: set[Engine | TaskName]) -> None:
    for pattern, place in target.sources.items():
        for file in sorted(_RUNTIME.glob(pattern)):
            if file.is_file() and target.only.get(file.name) in {None, *needed}:
                shutil.copyfile(file, _parent(folder / place / file.name))


def _parent(file: Path) -> Path:
    """``file``, after its folder was made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
