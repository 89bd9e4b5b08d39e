"""What the server of a bundle gives: its page, our sources, the engines, the bundle's files, by URL path."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mvit2.bundle.manifest import (
    MANIFEST,
    SCHEMA_VERSION,
    FileRecord,
    Manifest,
    manifest_text,
    read_labels,
    read_manifest,
    record,
    verified_artifact,
    verified_path,
)

__all__ = ["PAGE", "Served", "bundle_files", "page_files"]

PAGE = Path(__file__).parent / "page"
_SOURCES = Path(__file__).parents[1] / "sources" / "js"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".png": "image/png",
}
_BINARY = "application/octet-stream"


@dataclass(frozen=True)
class Served:
    """A file, and what it held when the server began."""

    path: Path
    sha256: str
    content: bytes | None = None  # what is sent in its place: a manifest brought to the present schema

    @property
    def media_type(self) -> str:
        return _TYPES.get(self.path.suffix, _BINARY)

    @property
    def tag(self) -> str:
        return f'"{self.sha256}"'

    def open(self) -> io.BufferedIOBase:
        """At its beginning. Raises OSError: it cannot be read."""
        return self.path.open("rb") if self.content is None else io.BytesIO(self.content)

    def fits(self, stream: io.BufferedIOBase) -> bool:
        """Whether ``stream`` is the file that it was; it is left at its beginning."""
        fits = hashlib.file_digest(stream, "sha256").hexdigest() == self.sha256
        stream.seek(0)
        return fits


def bundle_files(bundle: Path) -> dict[str, Served]:
    """URL path -> file, of what the manifest lists.

    Raises BundleError: no bundle, damaged, changed, of another schema, labels that do not fit.
    """
    manifest = read_manifest(bundle)
    read_labels(bundle, manifest)
    found = {f"/bundle/{MANIFEST}": _manifest(bundle, manifest)}
    for file in manifest.files:
        found[f"/bundle/{file.path}"] = Served(verified_path(bundle, file), file.sha256)
    for artifact in manifest.artifacts:
        verified_artifact(bundle, artifact)
        found.update((f"/bundle/{part.path}", _served(bundle, part)) for part in artifact.parts)
    return found


def _manifest(bundle: Path, manifest: Manifest) -> Served:
    """The file; of an older schema, which the page does not read, what it is today."""
    held = _served(bundle, record(bundle, MANIFEST))
    if json.loads(held.path.read_text(encoding="utf-8"))["schema_version"] == SCHEMA_VERSION:
        return held
    content = manifest_text(manifest).encode()
    return replace(held, sha256=hashlib.sha256(content).hexdigest(), content=content)


def page_files(engines: Path) -> dict[str, Served]:
    """URL path -> file, of the page, our sources, and the engines in a folder of theirs."""
    places = {"/": PAGE, "/mvit2/": _SOURCES, "/engines/": engines}
    found = {at + file.path: _served(folder, file) for at, folder in places.items() for file in _ours(folder)}
    return {**found, "/": found["/index.html"]}


def _ours(folder: Path) -> Iterator[FileRecord]:
    for path in sorted(folder.rglob("[!.]*")):
        if path.suffix in _TYPES and path.is_file():
            yield record(folder, path.relative_to(folder).as_posix())


def _served(folder: Path, file: FileRecord) -> Served:
    return Served(folder / file.path, file.sha256)
