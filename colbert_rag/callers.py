"""Keeps the caller's own sqlite3 errors apart from those of the catalog, inside whose transactions his code runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["caller_errors_raised", "calling"]


class _CallerError(Exception):
    def __init__(self, cause: sqlite3.Error) -> None:
        super().__init__(str(cause))
        self.cause = cause


@contextmanager
def calling() -> Iterator[None]:
    """Around a call of the caller's code: an sqlite3 error of his is not taken for one of the index."""
    try:
        yield
    except sqlite3.Error as err:
        raise _CallerError(err) from err


@contextmanager
def caller_errors_raised() -> Iterator[None]:
    """Around a transaction: raises what :func:`calling` has put aside, as it was."""
    try:
        yield
    except _CallerError as err:
        raise err.cause from None
