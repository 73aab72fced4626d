"""Damage becomes lines of a report; what is no damage stays an error."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from colbert_rag.errors import (
    ColbertRagError,
    CorruptIndexError,
    IndexLockedError,
    StorageError,
    UnsupportedFormatError,
)
from colbert_rag.storage.connection import CATALOG

__all__ = ["damage_noted"]

_TOLD = (CorruptIndexError, StorageError, UnsupportedFormatError)
# what bytes that mean something else can raise in SQLite's module, in parsers and in NumPy
_DAMAGE = (sqlite3.Error, OSError, ValueError, TypeError, ArithmeticError, LookupError, RecursionError, MemoryError)


@contextmanager
def damage_noted(problems: list[str]) -> Iterator[None]:
    """End the block at the first sign of damage, with a line more in the report."""
    try:
        yield
    except _TOLD as err:
        problems.append(str(err))
    except ColbertRagError:
        raise
    except _DAMAGE as err:
        if isinstance(err, sqlite3.OperationalError) and "locked" in str(err):
            msg = f"{CATALOG}: another process is recovering the catalog after a crash. Wait for it and repeat."
            raise IndexLockedError(msg) from err
        problems.append(f"{CATALOG}: {str(err) or type(err).__name__}")
