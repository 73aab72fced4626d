"""Which documents of a commit a filter chooses."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from contextlib import closing
from contextvars import Context, copy_context
from dataclasses import dataclass
from inspect import isclass, iscoroutinefunction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from colbert_rag.callers import calling
from colbert_rag.errors import InvalidFilterError
from colbert_rag.filters import Condition, parse
from colbert_rag.storage import Reading
from colbert_rag.types import Document

__all__ = ["CheckedFilter", "Filter", "FunctionFilter", "Selections", "checked_filter", "selected_keys"]

Test: TypeAlias = Callable[[Document], bool]
Filter: TypeAlias = Mapping[str, Any] | Condition | Test
"""A Mongo-style mapping, a condition of ``colbert_rag.filters``, or a function of the document."""

_KEPT = 16


@dataclass(frozen=True, slots=True, eq=False)
class FunctionFilter:
    """A function of the caller's, called as he would call it: in his context, wherever the search runs.

    Raises:
        InvalidFilterError: it says neither True nor False.
    """

    function: Test
    context: Context

    def __call__(self, document: Document) -> bool:
        """Whether the document may be found."""
        with calling():
            try:
                said: object = self.context.copy().run(self.function, document)
            except StopIteration as err:
                # one that leaves a generator or a coroutine ends it without a word
                msg = f"the filter function raised StopIteration on document {document.id!r}"
                raise RuntimeError(msg) from err
        if not isinstance(said, bool | np.bool_):
            if isinstance(said, Coroutine):
                said.close()
            msg = (
                f"a filter function must return True or False, found {type(said).__name__} on document "
                f"{document.id!r}; wrap the result in bool() if it is meant so."
            )
            raise InvalidFilterError(msg)
        return bool(said)


CheckedFilter: TypeAlias = Condition | FunctionFilter


def checked_filter(chosen: Filter) -> CheckedFilter:
    """A condition, or the caller's function.

    Raises:
        InvalidFilterError: what is wrong, where, and what is allowed.
    """
    if isinstance(chosen, FunctionFilter) or not callable(chosen):
        return chosen if isinstance(chosen, FunctionFilter) else parse(chosen)
    if isclass(chosen) or iscoroutinefunction(chosen):
        kind = "a class" if isclass(chosen) else "a coroutine function"
        msg = f"filter: expected a mapping, a condition or a function of the document, found {kind}, {chosen!r}."
        raise InvalidFilterError(msg)
    return FunctionFilter(chosen, copy_context())


def selected_keys(reading: Reading, chosen: CheckedFilter) -> list[int]:
    """Keys of the documents that a checked filter holds for, rising."""
    if not isinstance(chosen, FunctionFilter):
        return reading.matching(chosen)
    # an error of the function keeps what it passed through; a statement among it would keep the lock of a write
    with closing(reading.all_documents()) as documents:
        return [key for key, document in documents if chosen(document)]


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
        if isinstance(chosen, FunctionFilter):
            return np.array(selected_keys(reading, chosen), np.int64)
        with self._guard:
            if self._commits < commits:
                self._kept.clear()
                self._commits = commits
            known = self._kept.get(chosen) if self._commits == commits else None
        if known is None:
            known = np.array(selected_keys(reading, chosen), np.int64)
            if reading.is_whole():
                self._keep(commits, chosen, known)
        return known

    def _keep(self, commits: int, chosen: Condition, keys: NDArray[np.int64]) -> None:
        with self._guard:
            if self._commits == commits:
                self._kept[chosen] = keys
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
