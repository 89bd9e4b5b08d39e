"""The engines of the page, onnxruntime-web and LiteRT.js: too large for the wheel, so npm fetches them once.

They lie in the user's cache, in a folder named after the lockfile, which pins every version by its hash. Only the files
that a page asks for are kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from mvit2.errors import Mvit2Error, OutputError
from mvit2.export.atomic import under_construction
from mvit2.runtime.web.served import PAGE

__all__ = ["FETCH", "FILES", "IMPORT", "engines_folder", "fetch_engines", "is_offline"]

FETCH = "mvit2 serve --fetch-only"
_PACKAGES = ("package.json", "package-lock.json")
_ORT, _LITERT = "onnxruntime-web/dist", "@litertjs/core"
FILES = {  # as the page finds it -> as npm installs it
    "onnxruntime/ort.wasm.min.mjs": f"{_ORT}/ort.wasm.min.mjs",
    **{
        f"onnxruntime/{name}": f"{_ORT}/{name}"
        for name in ("ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
    },
    "litert/index.js": f"{_LITERT}/dist/index.js",
    "litert/wasm-utils.js": "@litertjs/wasm-utils/dist/index.js",
    **{
        f"litert/wasm/litert_wasm{kind}_internal.{end}": f"{_LITERT}/wasm/litert_wasm{kind}_internal.{end}"
        for kind in ("", "_threaded", "_compat")
        for end in ("js", "wasm")
    },
}
# A browser knows no package names without an import map, and that would be a script inside the page.
IMPORT = ("litert/index.js", 'from "@litertjs/wasm-utils"', 'from "./wasm-utils.js"')


def engines_folder() -> Path:
    """Where they lie, or will: $XDG_CACHE_HOME/mvit2/engines-HASH, or ~/.cache/mvit2/engines-HASH."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    cache = given if given.is_absolute() else Path.home() / ".cache"
    pinned = hashlib.sha256(b"".join((PAGE / name).read_bytes() for name in _PACKAGES)).hexdigest()
    return cache / "mvit2" / f"engines-{pinned[:12]}"


def is_offline() -> bool:
    """HF_HUB_OFFLINE says so for everything that this package would fetch."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def fetch_engines(folder: Path) -> None:
    """``npm ci`` into a hidden folder beside it, then only the files that are served, renamed in one step.

    Raises Mvit2Error: no npm here, or it failed. OutputError: the folder cannot be written.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Mvit2Error(
            "npm is not installed, and the engines of the page come from there; install Node.js 20 or later "
            f"(on Debian: apt-get install npm), then run: {FETCH}"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder.parent} cannot be made ({error.strerror}); set XDG_CACHE_HOME to a folder."
        ) from None
    with under_construction(folder) as building:
        for name in _PACKAGES:
            shutil.copy(PAGE / name, building)
        _install(npm, building)
        _keep(building, FILES)


def _install(npm: str, folder: Path) -> None:
    options = ("--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--prefer-offline")
    command = [npm, "ci", *options, "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line.removeprefix("npm error").strip() for line in done.stderr.splitlines() if "npm error" in line]
        reason = "; ".join(line for line in lines if line and not line.startswith("A complete log"))[:300]
        reason = reason or f"exit code {done.returncode}"
        raise Mvit2Error(f"npm could not fetch the engines ({reason}); with a network, run: {FETCH}")


def _keep(folder: Path, files: Mapping[str, str]) -> None:
    packages = folder / "node_modules"
    for ours, theirs in files.items():
        (folder / ours).parent.mkdir(parents=True, exist_ok=True)
        (packages / theirs).rename(folder / ours)
    shutil.rmtree(packages)
    for name in _PACKAGES:
        (folder / name).unlink()
    file, theirs, ours = IMPORT
    script = (folder / file).read_text(encoding="utf-8")
    if theirs not in script:
        raise Mvit2Error(f"{file} of {_LITERT} imports its helpers in another way; report this to mvit2's authors.")
    (folder / file).write_text(script.replace(theirs, ours), encoding="utf-8")
