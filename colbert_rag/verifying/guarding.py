"""Damage becomes lines of a report; what is no damage stays an error: of the machine, or of the user's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colbert_rag.errors import (
    ColbertRagError,
    CorruptIndexError,
    IndexLockedError,
    StorageError,
    UnsupportedFormatError,
)
from colbert_rag.storage.connection import CATALOG
from colbert_rag.storage.system_errors import is_too_much, shortage
from colbert_rag.types import Progress

__all__ = ["ProgressError", "damage_noted", "guarded"]

_TOLD = (CorruptIndexError, StorageError, UnsupportedFormatError)
# what bytes that mean something else can raise in SQLite's module, in parsers and in NumPy
_DAMAGE = (sqlite3.Error, OSError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError)
# in SQLite's words; the second is also what it says of too many open files
_SHORTAGES = ("database or disk is full", "unable to open database file")


class ProgressError(Exception):
    """Carries what the user's progress raised past everybody who takes exceptions for damage."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def guarded(progress: Progress) -> Progress:
    """A progress whose exceptions are no damage.

    Raises:
        ProgressError: it raised one.
    """

    def tell(stage: str, done: int, total: int | None) -> None:
        try:
            progress(stage, done, total)
        except Exception as err:
            raise ProgressError(err) from err

    return tell


@contextmanager
def damage_noted(problems: list[str], root: Path) -> Iterator[None]:
    """End the block at the first sign of damage, with a line more in the report.

    Args:
        problems: Lines of the report; gets one more.
        root: The folder of the index.

    Raises:
        StorageError: files, memory, space or permissions are wanting, whatever the index may be.
        IndexLockedError: another process is recovering the catalog.
    """
    try:
        yield
    except _TOLD as err:
        if _lacking(err.__cause__, root / CATALOG) is not None:
            raise
        problems.append(str(err))
    except ColbertRagError:
        raise
    except MemoryError as err:
        if not is_too_much(err):
            raise
        problems.append(f"{CATALOG}: SQLite asks for more memory than there can be, as it does for damaged numbers")
    except _DAMAGE as err:
        if isinstance(err, sqlite3.OperationalError) and "locked" in str(err):
            msg = f"{root / CATALOG}: another process is recovering the catalog after a crash. Wait for it and repeat."
            raise IndexLockedError(msg) from err
        lacking = _lacking(err, root / CATALOG)
        if lacking is not None:
            raise lacking from err
        problems.append(f"{CATALOG}: {str(err) or type(err).__name__}")


def _lacking(err: BaseException | None, path: Path) -> StorageError | None:
    """What the machine lacks, if that is the reason of the error."""
    if isinstance(err, OSError):
        return shortage(Path(err.filename or path), err)
    if isinstance(err, sqlite3.OperationalError) and str(err) in _SHORTAGES:
        advice = "Free space for temporary files (SQLITE_TMPDIR), raise the limit of open files (ulimit -n)"
        return StorageError(f"{path}: SQLite cannot work here ({err}). {advice}, and repeat.")
    return None
