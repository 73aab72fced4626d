"""The approximate pass: which documents are worth an exact score.

Documents are scored by their centroid ids alone (PLAID, arXiv 2205.09707). A small segment is
scanned whole, since a scan costs a few nanoseconds per token; a large one has inverted lists and
is probed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.codec import Codec, QuantisedQuery
from colbert_rag.errors import CorruptIndexError
from colbert_rag.kernels import blocked_query
from colbert_rag.kernels.layout import WIDTH
from colbert_rag.search.snapshot import Described, SegmentView, Snapshot
from colbert_rag.types import Float32Array, SearchConfig

__all__ = ["REACH", "Asked", "Candidates", "find_candidates", "keep_best", "n_candidates", "table_shape", "table_steps"]

# a centroid that is this much worse than the best one cannot win a query token; the rest of the
# table's 256 steps then lie where the winners are
REACH = np.float32(0.8)
# the last of k hits often lies a good deal lower in the approximate order
_CANDIDATES_PER_HIT = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as the stages of a compressed search need it.

    Attributes:
        query: Rotated and quantised.
        centroid_scores: ``(K, Q) float32``.
        table: The same as bytes, ``(ceil(Q / WIDTH), K, WIDTH) uint8``: 255 is the best centroid of each query token, 0
            is ``REACH`` below it or worse. A sum of entries differs from the sum of scores by a constant of the query,
            which leaves the order as it is.
    """

    query: QuantisedQuery
    centroid_scores: Float32Array
    table: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Documents that are worth an exact score.

    Attributes:
        asked: The query.
        described: The segments.
        positions: ``(n,) int64``: of the documents of the first segment, of the second, and so on.
        ends: ``(S,) int64``: where those of each segment end.
    """

    asked: Asked
    described: Described
    positions: NDArray[np.int64]
    ends: NDArray[np.int64]

    def by_view(self, snapshot: Snapshot) -> Iterator[tuple[SegmentView, NDArray[np.int64]]]:
        """Positions in each segment."""
        begin = 0
        for view, end in zip(snapshot.views, self.ends.tolist(), strict=True):
            yield view, self.positions[begin:end]
            begin = end


def n_candidates(k: int, config: SearchConfig) -> int:
    """Documents that are scored exactly where the best ``k`` are asked for."""
    return max(config.n_candidates, _CANDIDATES_PER_HIT * k)


def table_shape(n_query: int, k: int) -> tuple[int, int, int]:
    """The shape of a table of scores, see :class:`Asked`."""
    return max(1, -(-n_query // WIDTH)), k, WIDTH


def table_steps(similarity: float) -> np.uint8:
    """A difference of similarities in steps of the table; 255 stands for all that reach so far or farther."""
    return np.uint8(np.rint(min(similarity, float(REACH)) * 255 / float(REACH)))


def find_candidates(snapshot: Snapshot, codec: Codec, query: QuantisedQuery, wanted: int, n_probe: int) -> Candidates:
    """The best ``wanted`` live documents of all segments by their centroid ids, and those that tie with the last.

    Raises:
        CorruptIndexError: inverted lists are damaged.
    """
    from colbert_rag.kernels import cpu

    n_query, k = len(query.scale), codec.n_centroids
    asked = Asked(query, np.empty((k, n_query), np.float32), np.empty(table_shape(n_query, k), np.uint8))
    # zeros that are not written to cost nothing
    n_most = max((v.segment.record.n_documents for v in snapshot.views if v.segment.lists is not None), default=0)
    work = np.zeros(n_most, np.uint32), np.zeros(n_most, np.uint32)
    ends, described = np.empty(len(snapshot.views), np.int64), snapshot.described
    positions = cpu.candidates(
        *(blocked_query(query.rotated), codec.centroids, REACH, described.segments, np.empty(0, codec.id_dtype)),
        *(n_probe, wanted, asked.centroid_scores, asked.table, *work, ends),
    )
    for view, end in zip(snapshot.views, ends.tolist(), strict=True):
        if end < 0:
            what = f"document positions do not rise or are not below {view.segment.record.n_documents:,}"
            msg = f"{view.segment.record.name}/postings.npy: {what}. Restore the index from a backup."
            raise CorruptIndexError(msg)
    return Candidates(asked, described, positions, ends)


def keep_best(scores: NDArray[Any], n: int) -> NDArray[np.int64]:
    """Indices of the best ``n`` and of whatever ties with the last of them."""
    if n >= len(scores):
        return np.arange(len(scores))
    border = np.partition(scores, len(scores) - n)[len(scores) - n]
    return np.flatnonzero(scores >= border)
