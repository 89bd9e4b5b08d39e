"""Our own version, and those of other packages that are installed here."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["VERSION", "installed"]

VERSION = "0.1.0"


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Package -> version, in the order given; what is not installed is left out."""
    from importlib.metadata import PackageNotFoundError, version  # import mvit2 goes without it

    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
