"""Threads for the kernels, which release the GIL and are serial themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from colbert_rag.errors import IndexClosedError

__all__ = ["Workers"]

# under this many tokens a second thread costs more than it saves (some 50 microseconds)
_TOKENS_PER_THREAD = 50_000


class Workers:
    """A small thread pool of one index; ``close`` ends its threads.

    Args:
        n_threads: None for one per core.
    """

    def __init__(self, n_threads: int | None = None) -> None:
        self.n_threads = n_threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self.n_threads, thread_name_prefix="colbert_rag")

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False)

    def spread(
        self,
        work: Callable[[slice], None],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        tokens_per_thread: int = _TOKENS_PER_THREAD,
    ) -> None:
        """Run ``work`` over slices of the documents that hold about equally many tokens."""
        if not len(starts):
            return
        tokens = np.cumsum(ends - starts)
        n_parts = int(min(self.n_threads, max(1, tokens[-1] // tokens_per_thread)))
        cuts = np.searchsorted(tokens, np.arange(1, n_parts) * (tokens[-1] / n_parts)) + 1
        bounds = [0, *(int(cut) for cut in cuts), len(starts)]
        parts = [slice(a, b) for a, b in pairwise(bounds) if b > a]
        try:
            others = [self._pool.submit(work, part) for part in parts[1:]]
        except RuntimeError as err:
            msg = "the index was closed during a search. Open it again with Index.open."
            raise IndexClosedError(msg) from err
        work(parts[0])
        for other in others:
            other.result()
