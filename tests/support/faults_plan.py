"""What faults.c does under this process: it counts the calls that touch files in one folder, and kills or fails one."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "ANY_CALL",
    "CHANGES",
    "COUNT",
    "FAIL_ALWAYS",
    "KILL",
    "KILL_HALFWAY",
    "OPENING_CALL",
    "OPENS",
    "READS",
    "Armed",
    "Plan",
]

# which calls are counted; the numbers of both enumerations are those of faults.c
CHANGES, OPENS, READS = 1, 2, 4
COUNT, KILL, KILL_HALFWAY, FAIL_ONCE, FAIL_ALWAYS = range(5)


@dataclass(frozen=True)
class Plan:
    """What happens at one of the counted calls.

    Attributes:
        action: COUNT is nothing; KILL dies before the call, KILL_HALFWAY after half of a write.
        at: The number of the call, from 1.
        error: What a failing call sets errno to.
        classes: Which calls are counted.
        log: A file outside the folder that every change is appended to, with what it wrote.
    """

    action: int = COUNT
    at: int = 0
    error: int = 0
    classes: int = CHANGES
    log: Path | None = None


class Armed:
    """A plan at work in this process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.faults_arm.argtypes = [ctypes.c_char_p, *[ctypes.c_int] * 2, ctypes.c_long, *[ctypes.c_int] * 2]
        self._library.faults_disarm.restype = ctypes.c_long
        self.calls = 0

    def stop(self) -> None:
        """End it; ``calls`` is then the number of calls that it saw."""
        self.calls = max(self.calls, self._library.faults_disarm())

    def mark(self, text: str) -> None:
        """Write a line of one's own into the log."""
        self._library.faults_mark(text.encode())

    @classmethod
    @contextmanager
    def on(cls, folder: Path, plan: Plan) -> Iterator[Armed]:
        """Put a plan under everything that this process does in a folder."""
        armed = cls()
        log = -1 if plan.log is None else os.open(plan.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        armed._library.faults_arm(os.fsencode(folder), plan.classes, plan.action, plan.at, plan.error, log)
        try:
            yield armed
        finally:
            armed.stop()
            if log >= 0:
                os.close(log)


# neighbours differ in their error
ANY_CALL = [
    Plan(action, error=number, classes=CHANGES | OPENS | READS)
    for action in (FAIL_ONCE, FAIL_ALWAYS)
    for number in (errno.EIO, errno.ENOSPC, errno.EACCES)
]
# only what opens a file can meet too many open ones
OPENING_CALL = [Plan(action, error=errno.EMFILE, classes=OPENS) for action in (FAIL_ONCE, FAIL_ALWAYS)]
