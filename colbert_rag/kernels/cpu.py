"""The kernels of ``reference.py`` in numba: no GIL, no allocation in inner loops, no thread pool of their own.

Callers split documents over threads; a kernel itself is serial, so that concurrent searches never
meet in a shared pool (numba's portable one aborts the process when two threads enter it).
All indices are unsigned: a signed index costs a wrap-around test at every access.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np
from numba import types as t

__all__ = [
    "WIDTH",
    "approximate_scores",
    "dot_scores",
    "dot_table",
    "fill_lists",
    "list_sizes",
    "probe",
    "quantise",
    "residual_scores",
]

# query tokens per block: two 16-byte or one 32-byte register of uint8 scores
WIDTH = 32


def _in(dtype: Any, ndim: int) -> Any:
    """A C-contiguous array that may lie in a read-only map."""
    return t.Array(dtype, ndim, "C", readonly=True)


def _out(dtype: Any, ndim: int) -> Any:
    return t.Array(dtype, ndim, "C")


def _kernel(*signatures: Any, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile now, keep the machine code on disk where a folder for that can be written."""

    def compile_now(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            compiled: Any = nb.njit(list(signatures), nogil=True, cache=True, **options)(function)
        except RuntimeError:  # numba finds no folder to keep its cache in
            compiled = nb.njit(list(signatures), nogil=True, **options)(function)
        return compiled  # type: ignore[no-any-return]

    return compile_now


_IDS = (t.uint16, t.uint32)
_RANGE = (_in(t.int64, 1), _in(t.int64, 1))


@_kernel(*(t.void(_in(t.uint8, 3), _in(ids, 1), *_RANGE, _out(t.uint32, 1)) for ids in _IDS))
def approximate_scores(table: Any, centroid_ids: Any, starts: Any, ends: Any, out: Any) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.approximate_scores`; writes ``out`` ``(N,) uint32``."""
    best = np.empty(WIDTH, np.uint8)
    for n in range(np.uint64(starts.size)):
        total = np.uint32(0)
        for block in range(np.uint64(table.shape[0])):
            for q in range(np.uint64(WIDTH)):
                best[q] = 0
            i = np.uint64(starts[n])
            end = np.uint64(ends[n])
            # four tokens a step; `if` and not max(), which widens uint8 and is then not vectorised
            while i + np.uint64(4) <= end:
                a = np.uint64(centroid_ids[i])
                b = np.uint64(centroid_ids[i + np.uint64(1)])
                c = np.uint64(centroid_ids[i + np.uint64(2)])
                d = np.uint64(centroid_ids[i + np.uint64(3)])
                for q in range(np.uint64(WIDTH)):
                    x = table[block, a, q]
                    y = table[block, b, q]
                    z = table[block, c, q]
                    w = table[block, d, q]
                    if y > x:
                        x = y
                    if w > z:
                        z = w
                    if z > x:
                        x = z
                    if best[q] > x:
                        x = best[q]
                    best[q] = x
                i += np.uint64(4)
            while i < end:
                a = np.uint64(centroid_ids[i])
                for q in range(np.uint64(WIDTH)):
                    x = table[block, a, q]
                    if best[q] > x:
                        x = best[q]
                    best[q] = x
                i += np.uint64(1)
            for q in range(np.uint64(WIDTH)):
                total += np.uint32(best[q])
        out[n] = total


@_kernel(
    *(
        t.void(
            *(_in(t.int16, 1), _in(t.float32, 1), _in(t.float32, 2)),
            *(_in(t.int16, 2), _in(t.float32, 1), _in(t.float32, 1), t.float32),
            *(_in(ids, 1), _in(t.uint8, 2), _in(t.uint8, 2)),
            *(*_RANGE, _out(t.float32, 1)),
        )
        for ids in _IDS
    )
)
def residual_scores(
    query: Any,
    query_scale: Any,
    centroid_scores: Any,
    byte_levels: Any,
    scales: Any,
    norms: Any,
    slack: Any,
    centroid_ids: Any,
    codes: Any,
    factors: Any,
    starts: Any,
    ends: Any,
    out: Any,
) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.residual_scores`; writes ``out`` ``(N,) float32``.

    ``query`` is flat, ``(Q * D,) int16`` with D a multiple of the dimensions in a byte;
    ``byte_levels`` ``(256, 8 / bits) int16`` gives the levels that a byte of codes stands for.
    The products are summed in integers, so equal documents get equal scores wherever they lie.
    """
    n_query = np.uint64(query_scale.size)
    n_bytes = np.uint64(codes.shape[1])
    per_byte = np.uint64(byte_levels.shape[1])
    dim = n_bytes * per_byte
    z = np.empty(dim, np.int16)
    dots = np.empty(n_query, np.int32)
    best = np.empty(n_query, np.float32)
    for n in range(np.uint64(starts.size)):
        for q in range(n_query):
            best[q] = -np.inf
        for i in range(np.uint64(starts[n]), np.uint64(ends[n])):
            centroid = np.uint64(centroid_ids[i])
            n_promising = np.int32(0)
            for q in range(n_query):
                n_promising += np.int32(centroid_scores[centroid, q] + slack > best[q])
            if n_promising == 0:
                continue
            if per_byte == np.uint64(2):
                for j in range(n_bytes):
                    byte = np.uint64(codes[i, j])
                    z[np.uint64(2) * j] = byte_levels[byte, np.uint64(0)]
                    z[np.uint64(2) * j + np.uint64(1)] = byte_levels[byte, np.uint64(1)]
            else:
                for j in range(n_bytes):
                    byte = np.uint64(codes[i, j])
                    for p in range(per_byte):
                        z[j * per_byte + p] = byte_levels[byte, p]
            for q in range(n_query):
                base = q * dim
                dot = np.int32(0)
                # without the casts numba widens to int64 and the loop is not vectorised; a constant length
                # lets LLVM unroll the usual case
                if dim == np.uint64(128):
                    for d in range(np.uint64(128)):
                        dot = np.int32(dot + np.int32(np.int32(z[d]) * np.int32(query[base + d])))
                else:
                    for d in range(dim):
                        dot = np.int32(dot + np.int32(np.int32(z[d]) * np.int32(query[base + d])))
                dots[q] = dot
            scale = scales[np.uint64(factors[i, np.uint64(0)])]
            norm = norms[np.uint64(factors[i, np.uint64(1)])]
            for q in range(n_query):
                similarity = (centroid_scores[centroid, q] + scale * (query_scale[q] * np.float32(dots[q]))) * norm
                best[q] = similarity if similarity > best[q] else best[q]
        total = np.float32(0)
        for q in range(n_query):
            total += best[q]
        out[n] = total


@_kernel(
    t.void(_in(t.float32, 1), t.int64, _in(t.float32, 2), *_RANGE, _out(t.float32, 1)),
    fastmath={"contract"},
)
def dot_scores(query: Any, n_query: int, vectors: Any, starts: Any, ends: Any, out: Any) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.dot_scores`; writes ``out`` ``(N,) float32``.

    ``query`` is flat and transposed in blocks: ``(ceil(Q / WIDTH), D, WIDTH) float32``, padded with
    zeros. Each sum runs over the dimensions in one fixed order, so equal documents get equal scores.
    """
    dim = np.uint64(vectors.shape[1])
    width = np.uint64(WIDTH)
    n_blocks = np.uint64((n_query + WIDTH - 1) // WIDTH)
    dots = np.empty(WIDTH, np.float32)
    best = np.empty(WIDTH, np.float32)
    for n in range(np.uint64(starts.size)):
        total = np.float32(0)
        for block in range(n_blocks):
            for q in range(width):
                best[q] = -np.inf
            for i in range(np.uint64(starts[n]), np.uint64(ends[n])):
                for q in range(width):
                    dots[q] = np.float32(0)
                d = np.uint64(0)
                base = block * dim * width
                # four dimensions a step keep the sums in registers
                while d + np.uint64(4) <= dim:
                    v0 = vectors[i, d]
                    v1 = vectors[i, d + np.uint64(1)]
                    v2 = vectors[i, d + np.uint64(2)]
                    v3 = vectors[i, d + np.uint64(3)]
                    for q in range(width):
                        p = base + q
                        s = dots[q] + v0 * query[p]
                        s = s + v1 * query[p + width]
                        s = s + v2 * query[p + np.uint64(2) * width]
                        dots[q] = s + v3 * query[p + np.uint64(3) * width]
                    base += np.uint64(4) * width
                    d += np.uint64(4)
                while d < dim:
                    v0 = vectors[i, d]
                    for q in range(width):
                        dots[q] = dots[q] + v0 * query[base + q]
                    base += width
                    d += np.uint64(1)
                for q in range(width):
                    best[q] = dots[q] if dots[q] > best[q] else best[q]
            for q in range(min(width, np.uint64(n_query) - block * width)):
                total += best[q]
        out[n] = total


@_kernel(t.void(_in(t.float32, 1), _in(t.float32, 2), _out(t.float32, 2)), fastmath={"contract"})
def dot_table(query: Any, vectors: Any, out: Any) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.dot_table`; writes ``out`` ``(T, Q) float32``.

    ``query`` as in :func:`dot_scores`. A BLAS would start threads of its own for these small products,
    which wait for each other whenever another program has the cores.
    """
    dim = np.uint64(vectors.shape[1])
    width = np.uint64(WIDTH)
    n_query = np.uint64(out.shape[1])
    dots = np.empty(WIDTH, np.float32)
    for i in range(np.uint64(vectors.shape[0])):
        for block in range((n_query + width - np.uint64(1)) // width):
            for q in range(width):
                dots[q] = np.float32(0)
            base = block * dim * width
            d = np.uint64(0)
            while d + np.uint64(4) <= dim:
                v0 = vectors[i, d]
                v1 = vectors[i, d + np.uint64(1)]
                v2 = vectors[i, d + np.uint64(2)]
                v3 = vectors[i, d + np.uint64(3)]
                for q in range(width):
                    p = base + q
                    s = dots[q] + v0 * query[p]
                    s = s + v1 * query[p + width]
                    s = s + v2 * query[p + np.uint64(2) * width]
                    dots[q] = s + v3 * query[p + np.uint64(3) * width]
                base += np.uint64(4) * width
                d += np.uint64(4)
            while d < dim:
                v0 = vectors[i, d]
                for q in range(width):
                    dots[q] = dots[q] + v0 * query[base + q]
                base += width
                d += np.uint64(1)
            first = block * width
            for q in range(min(width, n_query - first)):
                out[i, first + q] = dots[q]


@nb.njit(inline="always")
def _rank(borders: Any, x: Any) -> Any:
    """How many borders are at most x."""
    low = np.uint64(0)
    high = np.uint64(borders.size)
    while low < high:
        middle = (low + high) >> np.uint64(1)
        if x >= borders[middle]:
            low = middle + np.uint64(1)
        else:
            high = middle
    return low


@_kernel(
    t.void(
        *(_in(t.float32, 2), _in(t.float32, 2)),
        *(
            _in(t.int16, 1),
            _in(t.float32, 1),
            _in(t.float32, 1),
            _in(t.float32, 1),
            _in(t.float32, 1),
            _in(t.float32, 1),
        ),
        *(t.int64, _out(t.uint8, 2), _out(t.uint8, 2)),
    )
)
def quantise(
    vectors: Any,
    centroids: Any,
    levels: Any,
    borders: Any,
    stretches: Any,
    scales: Any,
    scale_borders: Any,
    norm_borders: Any,
    bits: int,
    codes: Any,
    factors: Any,
) -> None:
    """Fast form of :func:`colbert_rag.kernels.reference.quantise`; writes ``codes`` and ``factors``."""
    dim = np.uint64(vectors.shape[1])
    per_byte = np.uint64(8 // bits)
    unit = np.empty(dim, np.float32)
    tried = np.empty(dim, np.uint8)
    chosen = np.empty(dim, np.uint8)
    for i in range(np.uint64(vectors.shape[0])):
        squares = np.float64(0)
        for d in range(dim):
            unit[d] = vectors[i, d] - centroids[i, d]
            squares += np.float64(unit[d]) * np.float64(unit[d])
        stretch = np.float32(np.sqrt(np.float64(dim) / squares)) if squares > 0 else np.float32(0)
        for d in range(dim):
            unit[d] *= stretch
        best = -np.inf
        for k in range(np.uint64(stretches.size)):
            dot = np.float64(0)
            length = np.float64(0)
            for d in range(dim):
                number = _rank(borders, unit[d] * stretches[k])
                tried[d] = number
                level = np.float64(levels[number])
                dot += level * np.float64(unit[d])
                length += level * level
            # 0 where every level is 0, which 8 bits have, and 1 at least elsewhere
            cosine = dot / np.sqrt(max(length, 1.0))
            if cosine > best:
                best = cosine
                for d in range(dim):
                    chosen[d] = tried[d]
        dot = np.float64(0)
        length = np.float64(0)
        for d in range(dim):
            level = np.float64(levels[np.uint64(chosen[d])])
            dot += level * np.float64(vectors[i, d] - centroids[i, d])
            length += level * level
        scale_byte = _rank(scale_borders, np.float32(dot / max(length, 1.0)))
        scale = np.float64(scales[scale_byte])
        squares = np.float64(0)
        for j in range(np.uint64(codes.shape[1])):
            codes[i, j] = 0
        for d in range(dim):
            number = np.uint64(chosen[d])
            x = np.float64(centroids[i, d]) + scale * np.float64(levels[number])
            squares += x * x
            shift = np.uint64(8) - np.uint64(bits) * (d % per_byte + np.uint64(1))
            codes[i, d // per_byte] |= np.uint8(number << shift)
        factors[i, 0] = np.uint8(scale_byte)
        factors[i, 1] = np.uint8(_rank(norm_borders, np.float32(1 / np.sqrt(squares))))


@_kernel(*(t.void(_in(ids, 1), _in(t.int64, 1), _out(t.int64, 1), _out(t.int64, 1)) for ids in _IDS))
def list_sizes(centroid_ids: Any, offsets: Any, last: Any, sizes: Any) -> None:
    """Count the documents of each centroid: ``sizes`` ``(K,) int64``; ``last`` ``(K,)`` is work space of -1."""
    for n in range(offsets.size - 1):
        for i in range(np.uint64(offsets[n]), np.uint64(offsets[n + 1])):
            c = np.uint64(centroid_ids[i])
            if last[c] != n:
                last[c] = n
                sizes[c] += 1


@_kernel(*(t.void(_in(ids, 1), _in(t.int64, 1), _out(t.int64, 1), _out(t.int64, 1), _out(t.uint32, 1)) for ids in _IDS))
def fill_lists(centroid_ids: Any, offsets: Any, last: Any, cursor: Any, postings: Any) -> None:
    """Write each centroid's documents at ``cursor`` ``(K,) int64``, which moves along; ``last`` is work space of -1."""
    for n in range(offsets.size - 1):
        for i in range(np.uint64(offsets[n]), np.uint64(offsets[n + 1])):
            c = np.uint64(centroid_ids[i])
            if last[c] != n:
                last[c] = n
                postings[np.uint64(cursor[c])] = n
                cursor[c] += 1


@_kernel(t.int64(_in(t.int64, 1), _in(t.uint8, 1), _in(t.int64, 1), _out(t.uint8, 1), _out(t.int64, 1)))
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
