"""``mvit2 doctor``: what is installed and what is missing, as the text of a bug report."""

from __future__ import annotations

from dataclasses import asdict

from mvit2.export.cli.console import screen
from mvit2.export.cli.options import Json

__all__ = ["doctor"]


def doctor(json: Json = False) -> None:
    screen.configure(False, json)
    from mvit2.export.doctor import examine

    found = examine()
    screen.table("this machine", ("", ""), found.system.items())
    screen.table("packages", ("package", "version"), found.packages.items())
    abilities = [(ability.name, "yes" if ability.missing is None else ability.missing) for ability in found.abilities]
    screen.table("what works here", ("", ""), abilities)
    screen.table("caches", ("", ""), found.cache.items())
    if found.environment:
        screen.table("environment", ("", ""), found.environment.items())
    screen.result("next: paste this text into a bug report, with the command that failed and what it printed")
    screen.json(asdict(found))
