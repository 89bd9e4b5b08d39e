"""Signals held back while what they would leave half done is finished."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["INTERRUPTS", "finish", "signals_held"]

INTERRUPTS = [s for s in signal.Signals if s.name in ("SIGINT", "SIGTERM", "SIGHUP")]  # Windows has no SIGHUP


@contextmanager
def signals_held() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP come after the block. In another thread than the main one none ever comes.

    Their handlers are changed, not the mask: a masked signal would still reach another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        came.append(number)

    held = {each: signal.getsignal(each) for each in INTERRUPTS}
    held = {each: before for each, before in held.items() if before not in (signal.SIG_IGN, None)}  # nohup; of C
    for each in held:
        signal.signal(each, hold)
    try:
        yield
    finally:
        for each, before in held.items():
            signal.signal(each, before)
        for number in came[:1]:
            signal.raise_signal(number)


def finish(work: Callable[[], object]) -> None:
    """Do ``work``, which may be done twice, to its end. A signal that comes before it is held back begins it again."""
    try:
        with signals_held():
            work()
    except BaseException:
        work()
        raise
