"""Bundles changed as a careful forger would: the manifest's sizes and hashes agree with what the files became."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mvit2.bundle.manifest import MANIFEST, record


def edit_manifest(bundle: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    _edit_json(bundle / MANIFEST, edit)


def edit_json(bundle: Path, file: str, edit: Callable[[dict[str, Any]], Any]) -> None:
    _edit_json(bundle / file, edit)
    resign(bundle, file)


def edit_numbers(bundle: Path, file: str, kind: str, edit: Callable[[Any], Any]) -> None:
    """A raw file as an array that ``edit`` changes in place, or of which it returns another."""
    numbers = np.fromfile(bundle / file, kind)
    changed = edit(numbers)
    (numbers if changed is None else changed).tofile(bundle / file)
    resign(bundle, file)


def resign(bundle: Path, *paths: str) -> None:
    def sign(manifest: dict[str, Any]) -> None:
        for file in [*manifest["files"], *(artifact["file"] for artifact in manifest["artifacts"])]:
            if file["path"] in paths:
                now = record(bundle, file["path"])
                file.update(bytes=now.bytes, sha256=now.sha256)

    edit_manifest(bundle, sign)


def _edit_json(file: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    edit(content)
    file.write_text(json.dumps(content), encoding="utf-8")
