"""The vectors of the queries that were encoded last."""

from __future__ import annotations

import threading
from collections import OrderedDict

from colbert_rag.types import Float32Array

__all__ = ["QueryCache"]


class QueryCache:
    """A small thread-safe LRU from query text to its vectors, which become read-only.

    Args:
        size: Queries that are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._vectors: OrderedDict[str, Float32Array] = OrderedDict()

    def get(self, text: str) -> Float32Array | None:
        """The vectors ``(Q, D) float32`` of a query, or None where they are not kept."""
        with self._lock:
            if text in self._vectors:
                self._vectors.move_to_end(text)
            return self._vectors.get(text)

    def put(self, text: str, vectors: Float32Array) -> None:
        """Keep the vectors of a query; the one unused for longest goes."""
        vectors.setflags(write=False)
        with self._lock:
            self._vectors[text] = vectors
            self._vectors.move_to_end(text)
            if len(self._vectors) > self._size:
                self._vectors.popitem(last=False)
