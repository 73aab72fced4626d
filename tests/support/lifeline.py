"""Processes of a test that end with the process that started them, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["end_with_parent"]

_PR_SET_PDEATHSIG = 1
# found before a fork: a child must not wait for a lock of the loader
_PRCTL = ctypes.CDLL(None).prctl if sys.platform.startswith("linux") else None


def end_with_parent() -> None:
    """Have the system kill this process when its parent dies; elsewhere than on Linux nothing happens.

    Strictly it is the thread that started this process, so that must be one that lives as long as the parent.
    """
    if _PRCTL is None:
        return
    parent = os.getppid()
    _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # it died before that was asked for
        os.kill(os.getpid(), signal.SIGKILL)
