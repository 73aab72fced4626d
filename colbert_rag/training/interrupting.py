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

    Only the main thread is sent interrupts: in another thread nothing is deferred, and neither where they are ignored,
    as in what a shell starts in the background.

    Raises:
        KeyboardInterrupt: there was an interrupt.
    """
    flag = InterruptFlag()
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
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
