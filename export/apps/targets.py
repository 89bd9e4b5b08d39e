"""Where everything lies in an app's folder: a table, a row for each platform."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mvit2.bundle.manifest import Engine
from mvit2.tasks import CLASSIFY, SEGMENT, TaskName

__all__ = ["TARGETS", "Target"]


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
        sources={"sources/js/*": "mvit2", "web/page/*": "."},
        only={},
        texts={
            "README.md.jinja": ("README.md",),
            "collect-engines.mjs.jinja": ("collect-engines.mjs",),
            "golden.test.mjs": ("golden.test.mjs",),
        },
        next="in that folder: npm ci --ignore-scripts && node collect-engines.mjs && node --test, then serve it",
    ),
}
