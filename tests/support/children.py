"""Forked children of a test: they end without the test's clean-up, and none hangs."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lifeline import end_with_parent

__all__ = ["fork", "join", "running"]

_MOST_SECONDS = 120


def fork(work: Callable[[], object], *, most_seconds: int = _MOST_SECONDS) -> int:
    """Run ``work`` in a forked child, which dies after some seconds (0 is never); returns its process id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        end_with_parent()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(most_seconds)
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


@contextmanager
def running(*works: Callable[[], object], most_seconds: int = _MOST_SECONDS) -> Iterator[list[int]]:
    """Process ids of forked children; whatever the block does, none outlives it."""
    processes: list[int] = []
    try:
        for work in works:
            processes.append(fork(work, most_seconds=most_seconds))
        yield processes
    finally:
        for process in processes:
            _end(process)


def _end(process: int) -> None:
    try:
        if os.waitpid(process, os.WNOHANG) == (0, 0):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    except ChildProcessError:
        # joined in the block
        return
