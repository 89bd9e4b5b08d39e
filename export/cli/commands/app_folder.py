"""``mvit2 app``: options, which files go in, where the folder lies. What it holds is in export/apps/."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, get_args

from mvit2.bundle.manifest import Engine
from mvit2.errors import UsageError, did_you_mean
from mvit2.export.cli.console import screen
from mvit2.export.cli.options import Artifacts, Bundle, Json, Opt, Overwrite, Quiet
from mvit2.units import human_bytes

__all__ = ["app_folder"]

TargetName = Annotated[str, Opt("--target", metavar="PLATFORM", help="android, ios or web.")]
_ENGINE = "litert or onnxruntime; default: litert where the bundle has files for it."
EngineName = Annotated[str | None, Opt("--engine", metavar="ENGINE", help=_ENGINE)]
Parent = Annotated[
    Path | None,
    Opt("--output", "-o", metavar="FOLDER", help="Where BUNDLE-PLATFORM/ is made; default: beside the bundle."),
]


def app_folder(
    bundle: Bundle,
    target: TargetName,
    artifact: Artifacts = None,
    engine: EngineName = None,
    output: Parent = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    screen.configure(quiet, json)
    from mvit2.bundle.manifest import read_labels, read_manifest
    from mvit2.export.apps.choose import choose_artifacts
    from mvit2.export.apps.targets import TARGETS
    from mvit2.export.apps.templates import content
    from mvit2.export.apps.write import write_app
    from mvit2.export.atomic import check_target, under_construction
    from mvit2.runtime.verify.made_for import require_same_preprocessing

    platform = _word("--target", target, TARGETS)
    manifest, wanted = read_manifest(bundle), artifact or ()
    chosen = choose_artifacts(bundle, manifest, wanted, _engine(engine))
    for one in chosen:
        require_same_preprocessing(bundle / one.file.path, manifest.preprocess)
    read_labels(bundle, manifest)
    folder = _folder(bundle, platform, output)
    check_target(folder, overwrite, f"{TARGETS[platform].model}/manifest.json", screen.warn)
    values = content(manifest, chosen, wanted) | {"folder": folder.name}
    with screen.step(f"app folder for {platform}"), under_construction(folder, overwrite) as building:
        write_app(building, platform, bundle, values)
    files = [file for file in folder.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    for line in values["reasons"].values():
        screen.result(line)
    screen.result(f"written: {folder}/, {len(files)} files, {human_bytes(size)}")
    screen.result(f"next: {TARGETS[platform].next}")
    screen.json(
        {
            "folder": str(folder),
            "target": platform,
            "artifacts": values["reasons"],
            "files": len(files),
            "bytes": size,
            "warnings": screen.warnings,
        }
    )


def _word(option: str, given: str, accepted: Collection[str]) -> str:
    if given not in accepted:
        near = did_you_mean(given, accepted)
        raise UsageError(f"{option} is {given[:80]!r}, accepted: {', '.join(accepted)}.{near}")
    return given


def _engine(given: str | None) -> Engine | None:
    if given is not None:
        _word("--engine", given, get_args(Engine))
    return next((engine for engine in get_args(Engine) if engine == given), None)


def _folder(bundle: Path, platform: str, output: Path | None) -> Path:
    """Raises UsageError: inside the bundle, whose files are its manifest's."""
    home = bundle.resolve()
    parent = home.parent if output is None else output
    if parent.resolve().is_relative_to(home):
        raise UsageError(f"--output {output} lies inside the bundle {bundle}; name a folder outside.")
    return parent / f"{home.name}-{platform}"
