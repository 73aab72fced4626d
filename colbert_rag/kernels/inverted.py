"""Inverted lists: which documents hold a token of a centroid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types as t

from colbert_rag.kernels.compiling import IDS, kernel, read, written

__all__ = ["fill_lists", "list_sizes", "probe"]


@kernel(*(t.void(read(ids, 1), read(t.int64, 1), written(t.int64, 1), written(t.int64, 1)) for ids in IDS))
def list_sizes(centroid_ids: Any, offsets: Any, last: Any, sizes: Any) -> None:
    """Count the documents of each centroid: ``sizes`` ``(K,) int64``; ``last`` ``(K,)`` is work space of -1."""
    for n in range(offsets.size - 1):
        for i in range(np.uint64(offsets[n]), np.uint64(offsets[n + 1])):
            c = np.uint64(centroid_ids[i])
            if last[c] != n:
                last[c] = n
                sizes[c] += 1


@kernel(
    *(
        t.void(read(ids, 1), read(t.int64, 1), written(t.int64, 1), written(t.int64, 1), written(t.uint32, 1))
        for ids in IDS
    )
)
def fill_lists(centroid_ids: Any, offsets: Any, last: Any, cursor: Any, postings: Any) -> None:
    """Write each centroid's documents at ``cursor`` ``(K,) int64``, which moves along; ``last`` is work space of -1."""
    for n in range(offsets.size - 1):
        for i in range(np.uint64(offsets[n]), np.uint64(offsets[n + 1])):
            c = np.uint64(centroid_ids[i])
            if last[c] != n:
                last[c] = n
                postings[np.uint64(cursor[c])] = n
                cursor[c] += 1


@kernel(t.int64(read(t.int64, 1), read(t.uint8, 1), read(t.int64, 1), written(t.uint8, 1), written(t.int64, 1)))
def probe(list_offsets: Any, packed: Any, centroids: Any, seen: Any, out: Any) -> int:
    """Collect the documents of some centroids; returns how many stand in ``out``, -1 where a list is damaged.

    ``packed`` holds, list after list, the differences of rising document positions in base 128, low
    part first. ``seen`` ``(N,) uint8`` must be zero and is zero again at the end. ``out`` is not sorted.
    A list that ends inside a number, or whose positions do not rise or are not below N, is damaged.
    """
    n_found = 0
    is_sound = True
    for k in range(centroids.size):
        c = np.uint64(centroids[k])
        i = np.uint64(list_offsets[c])
        end = np.uint64(list_offsets[c + np.uint64(1)])
        document = np.uint64(0)
        is_first = True
        while i < end:
            step = np.uint64(0)
            shift = np.uint64(0)
            byte = np.uint64(128)
            # five parts hold 32 bits and more; a shift beyond 63 would be undefined
            while byte >= np.uint64(128) and i < end and shift < np.uint64(35):
                byte = np.uint64(packed[i])
                step |= (byte & np.uint64(127)) << shift
                shift += np.uint64(7)
                i += np.uint64(1)
            document += step
            if byte >= np.uint64(128) or document >= np.uint64(seen.size) or (step == 0 and not is_first):
                is_sound = False
                break
            is_first = False
            if seen[document] == 0:
                seen[document] = 1
                out[n_found] = document
                n_found += 1
    for k in range(n_found):
        seen[np.uint64(out[k])] = 0
    return n_found if is_sound else -1
