"""Ctrl-C, SIGTERM or a closed terminal end a command cleanly, wherever it is."""

from __future__ import annotations

import signal
from types import FrameType

from mvit2.held_signals import INTERRUPTS

__all__ = ["Interrupted", "install", "raise_if_swallowed"]

_received: int | None = None


class Interrupted(BaseException):
    """Unwinds the stack, so that half-written folders and subprocesses vanish.

    No KeyboardInterrupt, because typer swallows that one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def install() -> None:
    for each in INTERRUPTS:
        if signal.getsignal(each) is not signal.SIG_IGN:  # nohup
            signal.signal(each, _interrupt)


def raise_if_swallowed() -> None:
    """A library that catches everything, or was in a callback of C, has lost the exception: raise it again."""
    if _received is not None:
        raise Interrupted(_received)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Not signal.SIG_IGN: of a signal that is on its way when that is set, Python prints a traceback."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _received
    _received = number
    for each in INTERRUPTS:
        signal.signal(each, _ignore)  # a second one would interrupt the clean-up
    raise Interrupted(number)
