"""The specification of every kernel, in NumPy: slow, obvious, and what the fast ones are tested against.

Axes: ``Q`` query tokens, ``T`` document tokens, ``D`` dimensions, ``K`` centroids, ``N`` documents.
Documents lie packed one after another; document ``n`` has the tokens ``starts[n]:ends[n]``.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from colbert_rag.kernels.rounding import QuantiserGrid, level_numbers, pack_codes, quantise, unpack_codes
from colbert_rag.types import Float32Array

__all__ = [
    "approximate_scores",
    "best_centroids",
    "dot_scores",
    "dot_table",
    "gelu",
    "inverted_lists",
    "level_numbers",
    "pack_codes",
    "probe",
    "quantise",
    "residual_scores",
    "residual_table",
    "score_table",
    "unpack_codes",
]


IntArray = NDArray[np.int64]
ByteArray = NDArray[np.uint8]


def dot_scores(query: Float32Array, vectors: Float32Array, starts: IntArray, ends: IntArray) -> Float32Array:
    """MaxSim of one query with packed documents (ColBERT, arXiv 2004.12832, section 3.3).

    Args:
        query: ``(Q, D) float32``.
        vectors: ``(T, D) float32``.
        starts: ``(N,) int64``.
        ends: ``(N,) int64``; a document has at least one token.

    Returns:
        ``(N,) float32``: the sum over query tokens of the best dot product.
    """
    return np.array([(query @ vectors[a:b].T).max(axis=1).sum() for a, b in zip(starts, ends, strict=True)], np.float32)


def dot_table(query: Float32Array, vectors: Float32Array) -> Float32Array:
    """Every vector with every query token: ``(Q, D)`` and ``(T, D)`` give ``(T, Q) float32``."""
    return vectors @ query.T


def gelu(values: Float32Array) -> Float32Array:
    """Each number times the normal distribution at it (arXiv 1606.08415, section 2), of any shape, in float32."""
    from scipy.special import erf

    wide = values.astype(np.float64)
    units: Float32Array = (wide * 0.5 * (1 + erf(wide / np.sqrt(2)))).astype(np.float32)
    return units


def score_table(centroid_scores: Float32Array, reach: float, width: int) -> ByteArray:
    """Centroid scores as bytes, in the blocks of query tokens that the kernels read.

    Args:
        centroid_scores: ``(K, Q) float32``.
        reach: How far below the best centroid of a query token the table still tells centroids apart.
        width: W, query tokens per block.

    Returns:
        ``(ceil(Q / W), K, W) uint8``: 255 is the best centroid of each query token, 0 is ``reach`` below it or worse,
        and whatever fills up the last block.
    """
    k, n_query = centroid_scores.shape
    floor = centroid_scores.max(axis=0) - np.float32(reach)
    padded = np.zeros((k, -(-n_query // width) * width), np.uint8)
    padded[:, :n_query] = np.clip((centroid_scores - floor) * np.float32(255 / reach), 0, 255)
    return np.ascontiguousarray(padded.reshape(k, -1, width).transpose(1, 0, 2))


def opened_groups(table: ByteArray, n_query: int, n_opened: int) -> NDArray[np.bool_]:
    """Groups of centroids that lie near a query.

    Args:
        table: ``(B, G, W) uint8`` of the groups' directions, see :func:`score_table`.
        n_query: Q.
        n_opened: At least 1.

    Returns:
        ``(G,)``: the best ``n_opened`` of each query token, and those that tie with the last of them.
    """
    entries = np.concatenate(list(table), axis=1)[:, :n_query]
    borders = np.sort(entries, axis=0)[-n_opened:].min(axis=0)
    opened: NDArray[np.bool_] = (entries >= borders).any(axis=1)
    return opened


def approximate_scores(
    table: ByteArray, centroid_ids: NDArray[np.unsignedinteger], starts: IntArray, ends: IntArray
) -> NDArray[np.uint32]:
    """Score documents by their centroid ids alone (PLAID, arXiv 2205.09707, section 4.2).

    Args:
        table: ``(B, K, W) uint8``: quantised centroid scores of ``B * W`` query tokens.
        centroid_ids: ``(T,)``, each below K.
        starts: ``(N,) int64``.
        ends: ``(N,) int64``.

    Returns:
        ``(N,) uint32``: the sum over query tokens of the best table entry, 0 for an empty document.
    """
    out = np.zeros(len(starts), np.uint32)
    for n, (a, b) in enumerate(zip(starts, ends, strict=True)):
        if b > a:
            out[n] = table[:, centroid_ids[a:b]].max(axis=1).sum(dtype=np.uint32)
    return out


def residual_scores(
    query: NDArray[np.int16],
    query_scale: Float32Array,
    centroid_scores: Float32Array,
    table: ByteArray,
    tokens: tuple[NDArray[np.unsignedinteger], ByteArray, ByteArray],
    documents: tuple[IntArray, IntArray],
    grid: QuantiserGrid,
    bits: int,
    slack: int = 255,
) -> Float32Array:
    """MaxSim with compressed tokens, without rebuilding their vectors.

    A token is ``(centroid + scale * z) * norm``, so its dot product with a query token is
    ``(centroid_score + scale * query_scale * (int query . z)) * norm``.

    Args:
        query: ``(Q, D) int16``: the query divided by ``query_scale`` and rounded.
        query_scale: ``(Q,) float32``.
        centroid_scores: ``(K, Q) float32``.
        table: ``(B, K, W) uint8``: the same, quantised, see :func:`score_table`.
        tokens: Centroid ids ``(T,)``, packed codes ``(T, B) uint8``, factors ``(T, 2) uint8``.
        documents: Starts and ends, ``(N,) int64`` each.
        grid: As in :func:`quantise`.
        bits: 1, 2, 4 or 8.
        slack: For a query token those tokens of a document count whose table entry comes within this of the
            document's best; 255: all do.

    Returns:
        ``(N,) float32``.
    """
    centroid_ids, codes, factors = tokens
    z = grid.levels[level_numbers(codes, bits, query.shape[1], grid.labels)].astype(np.int32)
    dots = (z @ query.T.astype(np.int32)).astype(np.float32)
    scales = grid.scales[factors[:, 0]][:, None]
    similarity = (centroid_scores[centroid_ids] + scales * (query_scale * dots)) * grid.norms[factors[:, 1]][:, None]
    total = np.empty(len(documents[0]), np.float32)
    for n, (start, end) in enumerate(zip(*documents, strict=True)):
        entries = np.concatenate(list(table[:, centroid_ids[start:end]]), axis=1)[:, : len(query)].astype(int)
        counts = entries + slack >= entries.max(axis=0)
        total[n] = np.where(counts, similarity[start:end], -np.inf).max(axis=0).sum()
    return total


def residual_table(
    query: Float32Array,
    centroids: Float32Array,
    tokens: tuple[NDArray[np.unsignedinteger], ByteArray, ByteArray],
    grid: QuantiserGrid,
    bits: int,
) -> Float32Array:
    """Every compressed token with every query token.

    Args:
        query: ``(Q, D) float32``, rotated.
        centroids: ``(K, D) float32``.
        tokens: As in :func:`residual_scores`.
        grid: As in :func:`quantise`.
        bits: 1, 2, 4 or 8.

    Returns:
        ``(T, Q) float32``.
    """
    centroid_ids, codes, factors = tokens
    z = grid.levels[level_numbers(codes, bits, query.shape[1], grid.labels)]
    vectors = (centroids[centroid_ids] + grid.scales[factors[:, :1]] * z) * grid.norms[factors[:, 1:]]
    similarities: Float32Array = vectors @ query.T
    return similarities


def inverted_lists(
    centroid_ids: NDArray[np.unsignedinteger], offsets: IntArray, n_centroids: int
) -> list[NDArray[np.int64]]:
    """For each centroid the positions of the documents that hold it, rising."""
    lists: list[set[int]] = [set() for _ in range(n_centroids)]
    for n, (a, b) in enumerate(pairwise(offsets)):
        for c in np.unique(centroid_ids[a:b]):
            lists[c].add(n)
    return [np.array(sorted(members), np.int64) for members in lists]


def best_centroids(table: ByteArray, n_query: int, n_best: int) -> tuple[NDArray[np.int64], ByteArray]:
    """The best centroids of each query token.

    Args:
        table: ``(B, K, W) uint8``, see :func:`score_table`.
        n_query: Q.
        n_best: P, at least 1.

    Returns:
        Centroids and their entries in the table, ``(Q, P)`` each, best first, of equals the lower number first; -1
        and 0 where too few centroids have an entry above 0.
    """
    entries = np.concatenate(list(table), axis=1)[:, :n_query].T
    order = np.argsort(-entries.astype(int), axis=1, kind="stable")[:, :n_best]
    best = np.take_along_axis(entries, order, axis=1)
    order[best == 0] = -1
    missing = ((0, 0), (0, n_best - order.shape[1]))
    return np.pad(order, missing, constant_values=-1), np.pad(best, missing)


def probe(
    lists: list[NDArray[np.int64]], centroids: IntArray, gains: ByteArray
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Positions of the documents that hold any of the chosen centroids (PLAID, section 4.1), and a first score.

    Args:
        lists: For each centroid the positions of its documents.
        centroids: ``(Q, P)``: those chosen by each query token, best first; -1 for none.
        gains: ``(Q, P) uint8``: what each is better by than the worst that the query token has chosen, which stands in
            for what is not known of a document (the imputation of XTR, arXiv 2304.01982, section 3.2).

    Returns:
        Positions ``(n,)``, rising, and the sum over query tokens of the best gain, ``(n,) uint32``.
    """
    found: dict[int, int] = {}
    for chosen, worth in zip(centroids, gains, strict=True):
        best: dict[int, int] = {}
        for c, gain in zip(chosen.tolist(), worth.tolist(), strict=True):
            for document in lists[c].tolist() if c >= 0 else ():
                best.setdefault(document, gain)
        for document, gain in best.items():
            found[document] = found.get(document, 0) + gain
    positions = sorted(found)
    return np.array(positions, np.int64), np.array([found[n] for n in positions], np.uint32)
