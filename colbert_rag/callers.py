"""Keeps the caller's own errors apart from those of the index, inside whose transactions his code runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from colbert_rag.errors import ColbertRagError
from colbert_rag.types import Progress

__all__ = ["caller_errors_raised", "calling", "calling_progress"]

# what is taken for the index's own around a transaction: errors of SQLite, what Python's module says of text that is no
# UTF-8, and damage, which may be of another index that the caller works with
_TAKEN_FOR_OURS = (sqlite3.Error, UnicodeDecodeError, ColbertRagError)


class _CallerError(Exception):
    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
        self.context, self.is_suppressed = error.__context__, error.__suppress_context__


@contextmanager
def calling() -> Iterator[None]:
    """Around a call of the caller's code: an error of his is not taken for one of the index."""
    try:
        yield
    except _TAKEN_FOR_OURS as err:
        raise _CallerError(err) from None


def calling_progress(progress: Progress) -> Progress:
    """A progress of the caller's whose errors are put aside as :func:`calling` does."""

    def tell(stage: str, done: int, total: int | None) -> None:
        with calling():
            progress(stage, done, total)

    return tell


@contextmanager
def caller_errors_raised() -> Iterator[None]:
    """Around a transaction: raises what :func:`calling` has put aside, as it was."""
    aside = None
    try:
        yield
    except _CallerError as err:
        aside = err
    if aside is None:
        return
    try:
        raise aside.error
    finally:
        # as they were before the error was put aside
        aside.error.__context__, aside.error.__suppress_context__ = aside.context, aside.is_suppressed
        aside.__context__ = None
        del aside
