"""Reading one commit whose files a merge may remove meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from colbert_rag.errors import CorruptIndexError
from colbert_rag.storage import Catalog, Reading

__all__ = ["read_newest"]

# whoever meets a merge reads the newer commit instead; merges are rarer than this many in a row
_ATTEMPTS = 5

R = TypeVar("R")


def read_newest(catalog: Catalog, read: Callable[[Reading, int], R]) -> R:
    """Read the newest commit, or the next one where a merge has removed files of that before they were opened.

    Args:
        catalog: Of the index.
        read: Given a transaction and the number of its commit; called again where a merge overtook it.

    Raises:
        CorruptIndexError: no merge explains it.
    """
    commits = -1

    def seen(reading: Reading) -> R:
        nonlocal commits
        commits = reading.commits()
        return read(reading, commits)

    for attempt in range(_ATTEMPTS):
        try:
            return catalog.read(seen)
        except CorruptIndexError:
            if attempt + 1 == _ATTEMPTS or not _has_moved_on(catalog, commits):
                raise
    raise AssertionError("unreachable")


def _has_moved_on(catalog: Catalog, commits: int) -> bool:
    return catalog.read(Reading.commits) > commits
