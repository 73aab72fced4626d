"""Threads for the kernels, which release the GIL and are serial themselves."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from colbert_rag.errors import IndexClosedError

__all__ = ["Workers"]

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """A small thread pool of one index; ``close`` ends its threads.

    Args:
        n_threads: None for one per core.
    """

    def __init__(self, n_threads: int | None = None) -> None:
        self.n_threads = n_threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self.n_threads, thread_name_prefix="colbert_rag")
        self._is_closed = False

    def each(self, work: Callable[[T, Workers], R], items: Sequence[T]) -> list[R]:
        """Results of ``work(item, workers)``, in order.

        One item is spread over all threads; of several each keeps to one thread, which costs less waiting. This thread
        takes its share: one that only waited would be woken for every result, and want the GIL then.
        """
        if len(items) <= 1 or self.n_threads == 1:
            return [work(item, self) for item in items]
        alone, results = Workers(1), dict[int, R]()

        def work_on(n: int) -> None:
            results[n] = work(items[n], alone)

        self._share(work_on, len(items))
        return [results[n] for n in range(len(items))]

    def _share(self, work: Callable[[int], None], n: int) -> None:
        """Call ``work`` for each number below ``n``, in this thread and whichever others have time."""
        # a step of a range is taken whole by one thread
        numbers, held = iter(range(n)), [work]
        others: list[Future[None]] = []

        def take_some() -> None:
            for number in numbers:
                held[0](number)

        try:
            for _ in range(min(self.n_threads, n) - 1):
                others += self._begun(take_some)
            take_some()
        finally:
            # who fails or is interrupted leaves the others nothing to begin
            deque(numbers, maxlen=0)
        for other in others:
            # what has not begun, behind the work of another caller, is not waited for
            if not other.cancel():
                other.result()
        # what was cancelled lies in the queue for a while, and would keep the maps that the work knows of
        held.clear()

    def _begun(self, work: Callable[[], None]) -> list[Future[None]]:
        """Work handed to another thread; none where no thread is to be had, and this one does it all."""
        try:
            return [self._pool.submit(work)]
        except RuntimeError as err:
            if not self._is_closed:
                return []
            msg = "the index was closed during a search. Open it again with Index.open."
            raise IndexClosedError(msg) from err

    def close(self) -> None:
        """End the threads."""
        self._is_closed = True
        self._pool.shutdown(wait=False)

    def spread(
        self,
        work: Callable[[slice], None],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        tokens_per_thread: int,
    ) -> None:
        """Run ``work`` over slices of the documents that hold about equally many tokens, and at least so many."""
        if not len(starts):
            return
        n_parts = min(self.n_threads, int((ends - starts).sum()) // tokens_per_thread)
        if n_parts <= 1:
            work(slice(0, len(starts)))
            return
        tokens = np.cumsum(ends - starts)
        cuts = np.searchsorted(tokens, np.arange(1, n_parts) * (tokens[-1] / n_parts)) + 1
        bounds = [0, *(int(cut) for cut in cuts), len(starts)]
        parts = [slice(a, b) for a, b in pairwise(bounds) if b > a]
        self._share(lambda n: work(parts[n]), len(parts))
