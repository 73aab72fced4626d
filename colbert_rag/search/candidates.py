"""The approximate pass: which documents are worth an exact score.

Documents are scored by their centroid ids alone (PLAID, arXiv 2205.09707). A small segment is
scanned whole, since a scan costs a few nanoseconds per token; a large one has inverted lists and
is probed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from colbert_rag.errors import CorruptIndexError
from colbert_rag.kernels.layout import WIDTH
from colbert_rag.search.snapshot import SegmentView
from colbert_rag.search.workers import Workers
from colbert_rag.types import Float32Array, SearchConfig

__all__ = ["REACH", "Probes", "approximate", "keep_best", "n_candidates", "probes_of", "score_table", "table_steps"]

# a centroid that is this much worse than the best one cannot win a query token; the rest of the
# table's 256 steps then lie where the winners are
REACH = np.float32(0.8)
# documents that lists have found are scored by all of their centroids, so many for each that is kept
_PROBED_PER_CANDIDATE = 4
# the last of k hits often lies a good deal lower in the approximate order
_CANDIDATES_PER_HIT = 4


def score_table(centroid_scores: Float32Array) -> NDArray[np.uint8]:
    """Centroid scores as bytes, in the blocks that the kernel reads.

    Args:
        centroid_scores: ``(K, Q) float32``.

    Returns:
        ``(ceil(Q / WIDTH), K, WIDTH) uint8``: 255 is the best centroid of each query token, 0 is
        ``REACH`` below it or worse. A sum of entries differs from the sum of scores by a constant
        of the query, which leaves the order as it is.
    """
    from colbert_rag.kernels import cpu

    k, n_query = centroid_scores.shape
    table = np.empty((max(1, -(-n_query // WIDTH)), k, WIDTH), np.uint8)
    cpu.score_table(centroid_scores, REACH, table)
    return table


def n_candidates(k: int, config: SearchConfig) -> int:
    """Documents that are scored exactly where the best ``k`` are asked for."""
    return max(config.n_candidates, _CANDIDATES_PER_HIT * k)


def table_steps(similarity: float) -> np.uint8:
    """A difference of similarities in steps of the table; 255 stands for all that reach so far or farther."""
    return np.uint8(np.rint(min(similarity, float(REACH)) * 255 / float(REACH)))


class Probes(NamedTuple):
    """The lists to be opened: of each query token the best centroids, ``(Q, P)``, see ``kernels.reference.probe``."""

    centroids: NDArray[np.int64]
    gains: NDArray[np.uint8]


def probes_of(table: NDArray[np.uint8], n_query: int, n_probe: int) -> Probes:
    """The best ``n_probe`` centroids of every query token."""
    from colbert_rag.kernels import cpu

    shape = (n_query, min(n_probe, table.shape[1]))
    centroids, entries = np.empty(shape, np.int64), np.empty(shape, np.uint8)
    cpu.best_centroids(table, centroids, entries)
    return Probes(centroids, entries - entries[:, -1:])


def approximate(
    view: SegmentView, table: NDArray[np.uint8], probes: Probes | None, wanted: int, workers: Workers
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Positions and approximate scores of live documents of a segment.

    Of a segment with lists these are the documents that the lists speak for; with fewer than ``wanted`` of them, and
    where there are no lists, all documents.

    Args:
        view: The segment.
        table: From :func:`score_table`.
        probes: Which lists are opened; None for none.
        wanted: Documents that will be kept.
        workers: Threads to spread over.
    """
    lists = view.segment.lists
    positions = None if probes is None or lists is None else _probed(view, lists, probes, wanted)
    if positions is None or len(positions) < min(wanted, view.n_alive):
        return view.live, _scores(view, table, *view.bounds, workers)
    offsets = view.segment.doc_offsets
    return positions, _scores(view, table, offsets[positions], offsets[positions + 1], workers)


def _probed(
    view: SegmentView, lists: tuple[NDArray[np.int64], NDArray[np.uint8]], probes: Probes, wanted: int
) -> NDArray[np.int64]:
    """The documents that the opened lists give the best scores, rising."""
    from colbert_rag.kernels import cpu

    n = view.segment.record.n_documents
    found, scores = np.empty(n, np.int64), np.empty(n, np.uint32)
    # zeros that are not written to cost nothing
    count = cpu.probe(*lists, *probes, np.zeros(n, np.uint32), np.zeros(n, np.uint32), found, scores)
    if count < 0:
        msg = f"{view.segment.record.name}/postings.npy: document positions do not rise or are not below {n:,}."
        raise CorruptIndexError(f"{msg} Restore the index from a backup.")
    found, scores = found[:count], scores[:count]
    if view.alive is not None:
        is_live = view.alive[found]
        found, scores = found[is_live], scores[is_live]
    return np.sort(found[keep_best(scores, _PROBED_PER_CANDIDATE * wanted)])


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
