"""Inverted lists: which documents hold a token of a centroid."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numba import types as t

from colbert_rag.kernels.compiling import IDS, kernel, read, written
from colbert_rag.kernels.layout import WIDTH
from colbert_rag.kernels.simd import bits_within, lowest_bit

__all__ = ["best_centroids", "fill_lists", "list_sizes", "probe"]

# so many of the best are kept in order by moving the worse ones along
_SORTED_IN = 64


@kernel(*(t.void(read(ids, 1), read(t.int64, 1), written(t.int64, 1), written(t.int64, 1)) for ids in IDS))
def list_sizes(centroid_ids: Any, offsets: Any, last: Any, sizes: Any) -> None:
    """Add up the bytes of each centroid's list, as :func:`fill_lists` packs it: ``sizes`` ``(K,) int64``.

    ``last`` ``(K,)`` is work space of -1.
    """
    for n in range(offsets.size - 1):
        for i in range(np.uint64(offsets[n]), np.uint64(offsets[n + 1])):
            c = np.uint64(centroid_ids[i])
            if last[c] != n:
                rest = np.uint64(n - max(last[c], 0))
                sizes[c] += 1
                while rest > np.uint64(127):
                    rest >>= np.uint64(7)
                    sizes[c] += 1
                last[c] = n


@kernel(
    *(
        t.void(read(ids, 1), read(t.int64, 1), written(t.int64, 1), written(t.int64, 1), written(t.uint8, 1))
        for ids in IDS
    )
)
def fill_lists(centroid_ids: Any, offsets: Any, last: Any, cursor: Any, packed: Any) -> None:
    """Write what each centroid's documents are apart at ``cursor`` ``(K,) int64``, which moves along.

    Numbers are in base 128, low part first, all bytes but the last with the top bit. ``last`` is work space of -1.
    """
    for n in range(offsets.size - 1):
        for i in range(np.uint64(offsets[n]), np.uint64(offsets[n + 1])):
            c = np.uint64(centroid_ids[i])
            if last[c] != n:
                rest = np.uint64(n - max(last[c], 0))
                while rest > np.uint64(127):
                    packed[np.uint64(cursor[c])] = np.uint8(rest & np.uint64(127)) | np.uint8(128)
                    cursor[c] += 1
                    rest >>= np.uint64(7)
                packed[np.uint64(cursor[c])] = np.uint8(rest)
                cursor[c] += 1
                last[c] = n


@nb.njit
def _counted(table: Any, centroids: Any, entries: Any) -> None:
    """:func:`best_centroids` by a counting sort, which takes as long for all centroids as for a hundred."""
    n_best, starts = centroids.shape[1], np.empty(256, np.int64)
    for q in range(centroids.shape[0]):
        block, lane = q // WIDTH, q % WIDTH
        starts[:] = 0
        for k in range(table.shape[1]):
            starts[255 - np.int64(table[block, k, lane])] += 1
        before = 0
        for n in range(256):
            starts[n], before = before, before + starts[n]
        centroids[q], entries[q] = -1, 0
        for k in range(table.shape[1]):
            entry = table[block, k, lane]
            place = starts[255 - np.int64(entry)]
            starts[255 - np.int64(entry)] += 1
            if entry > 0 and place < n_best:
                centroids[q, place], entries[q, place] = k, entry


@kernel(t.void(read(t.uint8, 3), written(t.int64, 2), written(t.uint8, 2)))
def best_centroids(table: Any, centroids: Any, entries: Any) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.best_centroids`; writes its two results, ``(Q, P)`` each."""
    n_query, n_best, width = np.uint64(centroids.shape[0]), np.uint64(centroids.shape[1]), np.uint64(WIDTH)
    if n_best > np.uint64(_SORTED_IN):
        _counted(table, centroids, entries)
        return
    rows = table.reshape(-1)
    wanted = np.empty(width, np.uint8)
    for block in range(np.uint64(table.shape[0])):
        first = block * width
        base = first * np.uint64(table.shape[1])
        open_lanes = np.uint32(0xFFFFFFFF) >> np.uint32(width - min(width, n_query - first))
        for q in range(width):
            wanted[q] = 1
        for own in range(min(width, n_query - first)):
            for p in range(n_best):
                centroids[first + own, p] = -1
                entries[first + own, p] = 0
        for k in range(np.uint64(table.shape[1])):
            better = bits_within(rows, base + k * width, wanted, np.uint8(0)) & open_lanes
            while better != np.uint32(0):
                lane = lowest_bit(better)
                better &= better - np.uint32(1)
                q = first + lane
                entry = rows[base + k * width + lane]
                place = n_best - np.uint64(1)
                while place > np.uint64(0) and entries[q, place - np.uint64(1)] < entry:
                    entries[q, place] = entries[q, place - np.uint64(1)]
                    centroids[q, place] = centroids[q, place - np.uint64(1)]
                    place -= np.uint64(1)
                entries[q, place] = entry
                centroids[q, place] = np.int64(k)
                worst = entries[q, n_best - np.uint64(1)]
                if worst == np.uint8(255):
                    open_lanes &= ~(np.uint32(1) << np.uint32(lane))
                else:
                    wanted[lane] = worst + np.uint8(1)


@kernel(
    t.int64(
        *(read(t.int64, 1), read(t.uint8, 1), read(t.int64, 2), read(t.uint8, 2)),
        *(written(t.uint32, 1), written(t.uint32, 1), written(t.int64, 1), written(t.uint32, 1)),
    )
)
def probe(
    list_offsets: Any, packed: Any, centroids: Any, gains: Any, seen: Any, totals: Any, out: Any, scores: Any
) -> int:
    """Fast form of :func:`colbert_rag.kernels.reference.probe`; returns how many documents stand in ``out``.

    ``packed`` holds, list after list, the differences of rising document positions in base 128, low part first.
    ``seen`` and ``totals`` ``(N,) uint32`` must be zero and are zero again at the end. ``out`` and ``scores`` are not
    sorted.
    Where a list ends inside a number, or its positions do not rise or are not below N, the index is damaged: -1.
    """
    n_found = 0
    is_sound = True
    for q in range(np.uint64(centroids.shape[0])):
        turn = np.uint32(q + np.uint64(1))
        for p in range(np.uint64(centroids.shape[1])):
            if centroids[q, p] < 0:
                break
            gain = np.uint32(gains[q, p])
            c = np.uint64(centroids[q, p])
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
                if seen[document] == np.uint32(0):
                    out[n_found] = document
                    n_found += 1
                # lists come best first: only the first one that holds a document counts for a query token
                if seen[document] != turn:
                    seen[document] = turn
                    totals[document] += gain
    for k in range(n_found):
        document = np.uint64(out[k])
        scores[k] = totals[document]
        seen[document] = 0
        totals[document] = 0
    return n_found if is_sound else -1
