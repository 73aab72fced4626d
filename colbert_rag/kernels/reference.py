"""The specification of every kernel, in NumPy: slow, obvious, and what the fast ones are tested against.

Axes: ``Q`` query tokens, ``T`` document tokens, ``D`` dimensions, ``K`` centroids, ``N`` documents.
Documents lie packed one after another; document ``n`` has the tokens ``starts[n]:ends[n]``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from colbert_rag.types import Float32Array

__all__ = [
    "approximate_scores",
    "best_centroids",
    "dot_scores",
    "dot_table",
    "inverted_lists",
    "pack_codes",
    "probe",
    "quantise",
    "residual_scores",
    "residual_table",
    "score_table",
    "unpack_codes",
]


class QuantiserGrid(Protocol):
    """Constants of a quantiser: see ``codec.grid``."""

    @property
    def levels(self) -> NDArray[np.int16]:
        """``(2**bits,)``, rising."""

    @property
    def borders(self) -> Float32Array:
        """``(2**bits - 1,)``: borders between the levels for a unit of ``sqrt(D)`` length."""

    @property
    def stretches(self) -> Float32Array:
        """What a residual is multiplied with before it is rounded."""

    @property
    def scales(self) -> Float32Array:
        """``(256,)``: the scale that a byte stands for, rising."""

    @property
    def scale_borders(self) -> Float32Array:
        """``(255,)``."""

    @property
    def norms(self) -> Float32Array:
        """``(256,)``: the reciprocal norm that a byte stands for, rising."""

    @property
    def norm_borders(self) -> Float32Array:
        """``(255,)``."""


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


def unpack_codes(codes: ByteArray, bits: int, dim: int) -> ByteArray:
    """Level numbers from packed bytes, most significant bits first.

    Args:
        codes: ``(T, ceil(D * bits / 8)) uint8``.
        bits: 1, 2, 4 or 8.
        dim: D.

    Returns:
        ``(T, D) uint8``, each below ``2**bits``.
    """
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    levels = (codes[:, :, None] >> shifts) & np.uint8(2**bits - 1)
    return levels.reshape(len(codes), codes.shape[1] * len(shifts))[:, :dim]


def pack_codes(levels: ByteArray, bits: int) -> ByteArray:
    """The inverse of :func:`unpack_codes`; a last byte that is not full is padded with zeros."""
    per_byte = 8 // bits
    padded = np.zeros((len(levels), -(-levels.shape[1] // per_byte) * per_byte), np.uint8)
    padded[:, : levels.shape[1]] = levels
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    groups = padded.reshape(len(levels), padded.shape[1] // per_byte, per_byte)
    packed: ByteArray = np.bitwise_or.reduce(groups << shifts, axis=2)
    return packed.astype(np.uint8)


def quantise(
    vectors: Float32Array, centroids: Float32Array, grid: QuantiserGrid, bits: int
) -> tuple[ByteArray, ByteArray]:
    """Quantise what is left of vectors after their centroids, each on a scale of its own.

    The direction of a residual is rounded to a point ``z`` of the level grid: of the roundings of
    ``stretch * sqrt(D) * residual / |residual|`` over a few stretches, the one with the best cosine
    to the residual (the idea of extended RaBitQ, arXiv 2409.09913). Two bytes complete it: the
    least-squares scale ``s`` of ``z``, and ``1 / |centroid + s z|``, which makes the rebuilt vector
    one of unit length.

    Args:
        vectors: ``(T, D) float32``, unit length.
        centroids: ``(T, D) float32``: the centroid of each vector.
        grid: Levels, their borders, stretches, and the values that the two bytes stand for.
        bits: 1, 2, 4 or 8.

    Returns:
        Packed codes ``(T, ceil(D * bits / 8)) uint8`` and factors ``(T, 2) uint8``.
    """
    dim = vectors.shape[1]
    residuals = vectors - centroids
    length = np.sqrt((residuals.astype(np.float64) ** 2).sum(axis=1))
    unit = residuals * np.where(length > 0, np.sqrt(dim) / np.where(length > 0, length, 1), 0)[:, None]
    best = np.full(len(vectors), -np.inf)
    numbers = np.zeros(vectors.shape, np.uint8)
    for stretch in grid.stretches:
        tried = np.searchsorted(grid.borders, (unit * stretch).astype(np.float32), side="right").astype(np.uint8)
        z = grid.levels[tried].astype(np.float64)
        cosine = (z * unit).sum(axis=1) / np.sqrt(np.maximum((z * z).sum(axis=1), 1))
        better = cosine > best
        best[better], numbers[better] = cosine[better], tried[better]
    z = grid.levels[numbers].astype(np.float64)
    wanted = (z * residuals).sum(axis=1) / np.maximum((z * z).sum(axis=1), 1)
    scale = np.searchsorted(grid.scale_borders, wanted.astype(np.float32), side="right").astype(np.uint8)
    rebuilt = centroids + grid.scales[scale].astype(np.float64)[:, None] * z
    norm = 1 / np.sqrt((rebuilt * rebuilt).sum(axis=1))
    factor = np.searchsorted(grid.norm_borders, norm.astype(np.float32), side="right").astype(np.uint8)
    return pack_codes(numbers, bits), np.column_stack([scale, factor])


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
    z = grid.levels[unpack_codes(codes, bits, query.shape[1])].astype(np.int32)
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
    z = grid.levels[unpack_codes(codes, bits, query.shape[1])]
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
