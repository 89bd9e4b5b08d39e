"""The texts of an app folder: README, build files, tests. Templates lie beside it, a folder for each platform."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mvit2.bundle.manifest import Artifact, Manifest
from mvit2.export.report.wording import ERRORS, postprocessing, preprocessing
from mvit2.export.templating import environment
from mvit2.network.architectures import network_title
from mvit2.runtime.accelerators.standing import NOT_FOR_IT, standing
from mvit2.runtime.accelerators.table import ACCELERATORS
from mvit2.runtime.web.served import PAGE
from mvit2.units import human_bytes
from mvit2.versions import VERSION

from .choose import reason
from .web_engines import FILES, IMPORT
from .wording import AppTask, app_task

__all__ = ["CHECKED", "TEMPLATES", "VERSIONS", "content", "render"]

TEMPLATES = Path(__file__).parent
CHECKED: Final = "2026-11-21"
"""When the versions below were looked up."""

VERSIONS: Final[Mapping[str, str]] = {
    "litert": "2.3.0",  # Google's Maven: com.google.ai.edge.litert:litert; the Swift package: branch release/2.3.0
    "onnxruntime_android": "1.27.0",  # Maven Central: com.microsoft.onnxruntime:onnxruntime-android
    "onnxruntime_swift": "1.24.2",  # Swift package: microsoft/onnxruntime-swift-package-manager
    "junit": "4.13.2",
    "json": "20260522",  # Maven Central: org.json:json
    "androidx_test_runner": "1.7.0",
    "androidx_test_junit": "1.3.0",
}


def content(manifest: Manifest, artifacts: Sequence[Artifact], wanted: Sequence[str]) -> dict[str, Any]:
    """What the templates see."""
    packages: dict[str, str] = json.loads((PAGE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return {
        "manifest": manifest,
        "artifacts": artifacts,
        "engines": {a.engine for a in artifacts},
        "suffixes": sorted({Path(a.file.path).suffix[1:] for a in artifacts}),
        "reasons": {a.file.path: reason(a, manifest, wanted) for a in artifacts},
        "task": app_task(manifest),
        "network_title": network_title(manifest.architecture, manifest.variant),
        "steps": (*preprocessing(manifest), *postprocessing(manifest)),
        "version": VERSION,
        "versions": VERSIONS,
        "checked": CHECKED,
        "packages": " and ".join(f"{name} {version}" for name, version in packages.items()),
        "engine_files": FILES,
        "engine_import": IMPORT,
    }


def render(template: str, values: Mapping[str, Any]) -> str:
    """``template`` is a path below apps/. Raises MissingEngineError."""
    filters: dict[str, Callable[..., Any]] = {
        "code": _code,
        "bytes": human_bytes,
        "accuracy": _accuracy,
        "opener": _opener,
        "standing": _standing,
        "tojson": _quoted,
    }
    return environment(TEMPLATES, filters, keep_trailing_newline=True).get_template(template).render(values)


def _code(value: object) -> str:
    """A text from outside as Markdown code, on one line and in one cell of a table."""
    text = " ".join(str(value).split()).replace("`", "'").replace("|", "¦")
    return f"`{text}`" if text else "-"


def _quoted(value: object) -> str:
    """As JSON, which for names of files is also Kotlin, Swift and JavaScript."""
    return json.dumps(value)


def _opener(artifact: Artifact) -> str:
    """The function that opens its engine, in Kotlin and Swift."""
    return {"litert": "liteRt", "onnxruntime": "onnxRuntime"}[artifact.engine]


def _standing(artifact: Artifact, manifest: Manifest) -> str:
    """What is known of it on accelerators, one after the other."""
    found = {name: standing(manifest, artifact, name) for name in ACCELERATORS}
    return "; ".join(f"{name}: {words}" for name, words in found.items() if words != NOT_FOR_IT) or "none takes it"


def _accuracy(artifact: Artifact, task: AppTask) -> str:
    """What the manifest knows of it."""
    if artifact.unverified is not None:
        return f"not verified: {artifact.unverified}"
    if artifact.parity is not None:
        return f"{ERRORS[artifact.parity.measure]} against torch: {artifact.parity.max_relative:.1e}"
    assert artifact.quantisation is not None  # one of the three, says Artifact
    found = artifact.quantisation.fidelity
    same = task.same.format(share=f"{found.agreement:.1%}", pictures=found.on)
    text = f"{same}, {found.snr_db:.1f} dB"
    if found.accuracy is None or found.float_accuracy is None:
        return text
    ours, theirs = found.accuracy, found.float_accuracy
    return f"{text}; {ours.metric} {ours.share:.1%}, float32 {theirs.share:.1%}"
