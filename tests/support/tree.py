"""Where the package's files lie in the repository, and under which names they are imported and installed."""

from __future__ import annotations

from pathlib import Path

__all__ = ["FOLDERS", "ROOT", "SOURCES", "data_files", "importable", "installed", "name_of", "packages_of_the_tree"]

ROOT = Path(__file__).parents[2]
FOLDERS = {"mvit2": "mvit2", "export": "mvit2.export", "quantize": "mvit2.quantize", "runtime": "mvit2.runtime"}
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def name_of(path: Path) -> str:
    """As the tests call a file: relative to the repository."""
    return path.relative_to(ROOT).as_posix()


def importable(path: Path) -> str:
    """The module that a source file is, or the package that a folder is."""
    folder, *rooms = path.relative_to(ROOT).with_suffix("").parts
    return ".".join((FOLDERS[folder], *(room for room in rooms if room != "__init__")))


def installed(path: Path) -> str:
    """Where a file lies in the wheel."""
    folder, *rest = path.relative_to(ROOT).parts
    return "/".join((*FOLDERS[folder].split("."), *rest))


def packages_of_the_tree() -> dict[str, Path]:
    """Every folder with Python files in it, by the name of its package."""
    return {importable(folder): folder for folder in sorted({path.parent for path in SOURCES})}


def data_files() -> list[Path]:
    """What the package needs beside its sources. Hidden files and a top folder's README.md are for developers."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    developers = {ROOT / folder / "README.md" for folder in FOLDERS}
    return [
        path
        for path in files
        if path.suffix not in (".py", ".pyc") and not path.name.startswith(".") and path not in developers
    ]
