"""An interrupt at the end of a step, not in the midst of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["InterruptFlag", "deferred_interrupt"]


class InterruptFlag:
    """Whether an interrupt has come."""

    def __init__(self) -> None:
        self.is_set = False


@contextmanager
def deferred_interrupt() -> Iterator[InterruptFlag]:
    """Note the first interrupt while the block runs, and raise it at the block's end; a second one is raised at once.

    Only the main thread is sent interrupts: in another thread nothing is deferred.

    Raises:
        KeyboardInterrupt: there was an interrupt.
    """
    flag = InterruptFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def note(number: int, frame: FrameType | None) -> None:
        flag.is_set = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)
    if flag.is_set:
        raise KeyboardInterrupt
