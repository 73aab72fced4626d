"""Forked children of a test: they end without the test's clean-up, and none hangs."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable

__all__ = ["fork", "join"]

_MOST_SECONDS = 120


def fork(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked child; returns its process id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_MOST_SECONDS)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def join(*processes: int) -> list[int]:
    """Wait for children; 0 where ``work`` ended well, 1 where it raised, minus the signal where one died of it."""
    return [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
