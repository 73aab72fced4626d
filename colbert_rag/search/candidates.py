"""The approximate pass: which documents are worth an exact score.

Documents are scored by their centroid ids alone (PLAID, arXiv 2205.09707). A small segment is
scanned whole, since a scan costs a few nanoseconds per token; a large one has inverted lists and
is probed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.errors import CorruptIndexError
from colbert_rag.kernels.layout import WIDTH
from colbert_rag.search.snapshot import SegmentView
from colbert_rag.search.workers import Workers
from colbert_rag.types import Float32Array

__all__ = ["approximate", "keep_best", "probed_centroids", "score_table", "table_steps"]

# a centroid that is this much worse than the best one cannot win a query token; the rest of the
# table's 256 steps then lie where the winners are
_REACH = np.float32(0.8)


def score_table(centroid_scores: Float32Array) -> NDArray[np.uint8]:
    """Centroid scores as bytes, in the blocks that the kernel reads.

    Args:
        centroid_scores: ``(K, Q) float32``.

    Returns:
        ``(ceil(Q / WIDTH), K, WIDTH) uint8``: 255 is the best centroid of each query token, 0 is
        ``_REACH`` below it or worse. A sum of entries differs from the sum of scores by a constant
        of the query, which leaves the order as it is.
    """
    from colbert_rag.kernels import cpu

    k, n_query = centroid_scores.shape
    table = np.empty((max(1, -(-n_query // WIDTH)), k, WIDTH), np.uint8)
    cpu.score_table(centroid_scores, _REACH, table)
    return table


def table_steps(similarity: float) -> np.uint8:
    """A difference of similarities in steps of the table; 255 stands for all that reach so far or farther."""
    return np.uint8(np.rint(min(similarity, float(_REACH)) * 255 / float(_REACH)))


def probed_centroids(centroid_scores: Float32Array, n_probe: int) -> NDArray[np.int64]:
    """The best ``n_probe`` centroids of every query token, each once, rising."""
    n = min(n_probe, len(centroid_scores))
    if not n:
        return np.zeros(0, np.int64)
    best = np.argpartition(centroid_scores, len(centroid_scores) - n, axis=0)[-n:]
    return np.unique(best).astype(np.int64)


def approximate(
    view: SegmentView, table: NDArray[np.uint8], centroids: NDArray[np.int64], least: int, workers: Workers
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Positions and approximate scores of a segment's live documents.

    Args:
        view: The segment.
        table: From :func:`score_table`.
        centroids: Whose lists are opened when the segment has lists.
        least: With fewer probed documents than this the segment is scanned after all.
        workers: Threads to spread over.
    """
    positions = _probe(view, centroids)
    if positions is None or len(positions) < min(least, view.n_alive):
        return view.live, _scores(view, table, *view.bounds, workers)
    offsets = view.segment.doc_offsets
    return positions, _scores(view, table, offsets[positions], offsets[positions + 1], workers)


def _probe(view: SegmentView, centroids: NDArray[np.int64]) -> NDArray[np.int64] | None:
    if view.segment.lists is None:
        return None
    from colbert_rag.kernels import cpu

    n = view.segment.record.n_documents
    found = np.empty(n, np.int64)
    count = cpu.probe(*view.segment.lists, centroids, np.zeros(n, np.uint8), found)
    if count < 0:
        msg = f"{view.segment.record.name}/postings.npy: document positions do not rise or are not below {n:,}."
        raise CorruptIndexError(f"{msg} Restore the index from a backup.")
    positions = np.sort(found[:count])
    return positions if view.alive is None else positions[view.alive[positions]]


def _scores(
    view: SegmentView,
    table: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    workers: Workers,
) -> NDArray[np.uint32]:
    from colbert_rag.kernels import cpu

    ids = view.segment.columns["centroid_ids"]
    scores = np.empty(len(starts), np.uint32)

    def score(part: slice) -> None:
        cpu.approximate_scores(table, ids, starts[part], ends[part], scores[part])

    workers.spread(score, starts, ends)
    return scores


def keep_best(scores: NDArray[Any], n: int) -> NDArray[np.int64]:
    """Indices of the best ``n`` and of whatever ties with the last of them."""
    if n >= len(scores):
        return np.arange(len(scores))
    border = np.partition(scores, len(scores) - n)[len(scores) - n]
    return np.flatnonzero(scores >= border)
