"""Manifests of older schemas, brought to the present one a step at a time.

What a schema changed:
    2: the network's ``blocks`` are listed.
    3: golden vectors of another layout (runtime/verify/golden.py); ``.ort`` files; what accelerators would take of an
       ONNX graph. Later, without a number of its own: ``output_kind`` and ``colors`` of segmentation networks, and a
       Difference that says what its figures measure.
    4: an artifact has one or more ``outputs``, may be a folder of ``files``, and may be ``unverified``; ``proofs``; the
       ``architecture``, which was MobileViTV2; the ``largest`` value of a block. The preprocessing has a ``mean`` and
       ``std``; ``assumptions``, ``reduce_labels``, ``rules``, ``options``.

A step adds what its schema added, and renames. It takes nothing away, so that what no schema had is refused afterwards
as in any other manifest; nor does it trust what it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

__all__ = ["OLDEST_VERSION", "SCHEMA_VERSION", "UPGRADES", "upgraded"]

Json = dict[str, Any]  # an object as json reads it
_FIGURES = {"max_probability": "max_absolute", "max_log_probability": "max_relative"}


def _to_2(manifest: Json) -> Json:
    return {"blocks": [], **manifest}


def _to_3(manifest: Json) -> Json:
    return _with_artifacts(manifest, lambda artifact: {**artifact, "graph": _with_accelerators(artifact.get("graph"))})


def _to_4(manifest: Json) -> Json:
    filled = {"architecture": "mobilevitv2", "output_kind": "scores", "colors": [], "proofs": [], **manifest}
    filled = {"assumptions": [], "reduce_labels": False, "rules": {}, "options": [], **filled}
    if isinstance(filled.get("preprocess"), dict):
        filled["preprocess"] = {"mean": [0.0] * 3, "std": [1.0] * 3, **filled["preprocess"]}
    if isinstance(filled.get("blocks"), list):
        filled["blocks"] = [{"largest": None, **one} if isinstance(one, dict) else one for one in filled["blocks"]]
    if isinstance(filled.get("parity"), list):
        filled["parity"] = [_difference(stage) for stage in filled["parity"]]
    return _with_artifacts(filled, _artifact_of_4)


UPGRADES: Final[Mapping[int, Callable[[Json], Json]]] = MappingProxyType({1: _to_2, 2: _to_3, 3: _to_4})
"""Schema -> what makes a manifest of the next one of it."""

OLDEST_VERSION: Final = min(UPGRADES)
SCHEMA_VERSION: Final = max(UPGRADES) + 1


def upgraded(manifest: Json) -> Json:
    """A manifest, whose ``schema_version`` is one of those known, as one of SCHEMA_VERSION; nothing else is checked."""
    for version in range(manifest["schema_version"], SCHEMA_VERSION):
        manifest = {**UPGRADES[version](manifest), "schema_version": version + 1}
    return manifest


def _with_artifacts(manifest: Json, change: Callable[[Json], Json]) -> Json:
    """With ``change`` made to every artifact that is an object."""
    artifacts = manifest.get("artifacts")
    if not isinstance(artifacts, list):
        return manifest
    return {**manifest, "artifacts": [change(one) if isinstance(one, dict) else one for one in artifacts]}


def _with_accelerators(graph: object) -> object:
    return {"accelerators": [], **graph} if isinstance(graph, dict) else graph


def _artifact_of_4(artifact: Json) -> Json:
    renamed = dict(_artifact_fields(artifact))
    return {"unverified": None, "files": [], **renamed}


def _artifact_fields(artifact: Json) -> Iterator[tuple[str, Any]]:
    for name, value in artifact.items():
        if name == "output" and "outputs" not in artifact:
            yield "outputs", [value]
        else:
            yield name, _difference(value) if name == "parity" else value


def _difference(value: object) -> object:
    """With the names of its figures, and what they measure: once it could be nothing but probabilities."""
    if not isinstance(value, dict):
        return value
    renamed = {name if _FIGURES.get(name) in value else _FIGURES.get(name, name): one for name, one in value.items()}
    return {"measure": "probabilities", **renamed}
