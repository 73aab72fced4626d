"""Which documents of a commit a filter chooses."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from colbert_rag.callers import calling
from colbert_rag.filters import Condition, parse
from colbert_rag.storage import Reading
from colbert_rag.types import Document

__all__ = ["CheckedFilter", "Filter", "Selections", "checked_filter", "selected_keys"]

Test: TypeAlias = Callable[[Document], bool]
Filter: TypeAlias = Mapping[str, Any] | Condition | Test
"""A Mongo-style mapping, a condition of ``colbert_rag.filters``, or a function of the document."""

CheckedFilter: TypeAlias = Condition | Test

_KEPT = 16


def checked_filter(chosen: Filter) -> CheckedFilter:
    """A condition, or the caller's function.

    Raises:
        InvalidFilterError: what is wrong, where, and what is allowed.
    """
    # wrapped, because a callable object need not be hashable
    return (lambda document: bool(chosen(document))) if callable(chosen) else parse(chosen)


def selected_keys(reading: Reading, chosen: CheckedFilter) -> list[int]:
    """Keys of the documents that a checked filter holds for, rising."""
    if not callable(chosen):
        return reading.matching(chosen)
    keys = []
    for key, document in reading.all_documents():
        with calling():
            if chosen(document):
                keys.append(key)
    return keys


class Selections:
    """The keys that the conditions of the last searches chose, for as long as nothing is committed."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._commits = -1
        self._kept: OrderedDict[Condition, NDArray[np.int64]] = OrderedDict()

    def keys(self, reading: Reading, commits: int, chosen: CheckedFilter) -> NDArray[np.int64]:
        """Keys of the documents of a commit, rising; a function is asked every time.

        Args:
            reading: A transaction on the commit.
            commits: Its number.
            chosen: A checked filter.
        """
        if callable(chosen):
            return np.array(selected_keys(reading, chosen), np.int64)
        with self._guard:
            if self._commits < commits:
                self._kept.clear()
                self._commits = commits
            known = self._kept.get(chosen) if self._commits == commits else None
        if known is None:
            known = np.array(selected_keys(reading, chosen), np.int64)
            self._keep(commits, chosen, known)
        return known

    def _keep(self, commits: int, chosen: Condition, keys: NDArray[np.int64]) -> None:
        with self._guard:
            if self._commits == commits:
                self._kept[chosen] = keys
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
