"""A folder that a developer copies into an app: model, labels, manifest, sources, golden vectors as a test, README.

What goes where is a table, a row for each platform.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mvit2.bundle.manifest import LABELS, Artifact, Engine, FileRecord, Manifest, verified_path, write_manifest
from mvit2.errors import BundleError
from mvit2.runtime.verify.golden import GOLDEN, read_golden
from mvit2.runtime.web.served import PAGE
from mvit2.tasks import TaskName

from .targets import TARGETS, Target
from .templates import TEMPLATES, render

__all__ = ["write_app"]

_RUNTIME = PAGE.parents[1]


def write_app(folder: Path, platform: str, bundle: Path, values: Mapping[str, Any]) -> None:
    """Fill ``folder``, which is empty; the same bundle gives the same bytes.

    ``values`` is templates.content. Raises BundleError: the bundle is damaged, or has no golden vectors.
    """
    target, manifest, artifacts = TARGETS[platform], values["manifest"], values["artifacts"]
    golden = _golden_files(bundle, manifest, artifacts)
    labels = [file for file in manifest.files if file.path == LABELS]
    models = (part for artifact in artifacts for part in artifact.parts)
    _copy(bundle, [*models, *labels], folder / target.model)
    _copy(bundle, golden, folder / target.golden)
    kept = (*labels, *(golden if target.golden == target.model else ()))
    names = {artifact.file.path for artifact in artifacts}
    proofs = tuple(proof for proof in manifest.proofs if proof.file in names)
    write_manifest(folder / target.model, replace(manifest, artifacts=tuple(artifacts), files=kept, proofs=proofs))
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
    scores = json.loads((bundle / GOLDEN).read_text(encoding="utf-8")).get("scores")
    if scores is None:
        raise BundleError(
            f"{bundle / GOLDEN} is of an older layout, which an app cannot read; export the bundle again."
        )
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
