"""``mvit2`` and ``mvit2-export``; also ``python -m mvit2``."""

from __future__ import annotations

import sys


def _start(name: str) -> None:
    try:
        from mvit2.export.cli import main as command_line
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        print(f"error: the command line needs {error.name}; install it with: pip install 'mvit2[cli]'", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:  # only until the command line has its own way of ending
        raise SystemExit(130) from None
    getattr(command_line, name)()


def main() -> None:
    _start("main")


def main_export() -> None:
    _start("main_export")


if __name__ == "__main__":
    main()
