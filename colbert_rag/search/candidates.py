"""The pruned search: few documents are worth an exact score, and the approximate pass says which.

Documents are scored by their centroid ids alone (PLAID, arXiv 2205.09707). A small segment is
scanned whole, since a scan costs a few nanoseconds per token; a large one has inverted lists and
is probed. The best are scored from their codes, in the same call of a kernel unless they are many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.codec import Codec, QuantisedQueries
from colbert_rag.errors import CorruptIndexError
from colbert_rag.search.snapshot import SegmentView, Snapshot
from colbert_rag.types import Float32Array, SearchConfig

__all__ = [
    "HEAVY",
    "REACH",
    "ROUGH_SLACK",
    "SLACK",
    "Pruned",
    "keep_best",
    "n_candidates",
    "n_finalists",
    "n_opened",
    "prune",
    "reach_of",
    "table_steps",
]

# a centroid that is this much worse than the best one cannot win a query token; the rest of the
# table's 256 steps then lie where the winners are
REACH = np.float32(0.8)
# where a token weighs more than so many others, that much farther: its similarities differ by more
HEAVY = np.float32(3)
# a residual hardly ever lifts a token from so far below to the best of a query token
SLACK = 0.3
# enough to tell which candidates may be among the hits, at a quarter of the time
ROUGH_SLACK = 0.07
# the last of k hits often lies a good deal lower in the approximate order
_CANDIDATES_PER_HIT = 4
# documents that are scored with the wide slack, and how many of them for each hit that is asked for
_FINALISTS = 16
_FINALISTS_PER_HIT = 2.5
# share of the groups of centroids that a query token is compared with, and that all tokens of a query are: a short
# query has fewer tokens to find a document by
_OPENED, _OPENED_TOGETHER, _LEAST_OPENED = 0.02, 0.3, 16


@dataclass(frozen=True, slots=True)
class Pruned:
    """What is left of the documents for one query.

    Attributes:
        is_scored: Whether these are the best, or candidates that have no scores yet.
        by_view: Of each segment positions ``(n,) int64`` and scores ``(n,) float32``.
    """

    is_scored: bool
    by_view: list[tuple[SegmentView, NDArray[np.int64], Float32Array]]


def n_candidates(k: int, config: SearchConfig) -> int:
    """Documents that are scored exactly where the best ``k`` are asked for."""
    return max(config.n_candidates, _CANDIDATES_PER_HIT * k)


def n_finalists(k: int) -> int:
    """Documents of these that are scored with the wide slack."""
    return max(_FINALISTS, math.ceil(_FINALISTS_PER_HIT * k))


def n_opened(codec: Codec, n_tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups of centroids that are looked at for each token of queries of so many tokens."""
    n_groups = len(codec.directions)
    least = max(_LEAST_OPENED, round(n_groups * _OPENED))
    return np.maximum(least, round(n_groups * _OPENED_TOGETHER) // n_tokens)


def reach_of(query: Float32Array) -> np.float32:
    """How far below the best centroid of a token of a query ``(Q, D)`` the table tells centroids apart."""
    return np.float32(REACH * max(np.linalg.norm(query, axis=1).max() / HEAVY, np.float32(1)))


def table_steps(similarity: float) -> np.uint8:
    """A difference of similarities in steps of the table, as long as no token is heavy; 255: so far or farther."""
    return np.uint8(np.rint(min(similarity, float(REACH)) * 255 / float(REACH)))


def prune(
    snapshot: Snapshot, codec: Codec, queries: QuantisedQueries, k: int, config: SearchConfig, most_tokens: int
) -> list[Pruned]:
    """For each query the best ``k`` live documents, and those that tie with the last.

    Args:
        snapshot: One commit, compressed.
        codec: Of the snapshot.
        queries: At least one.
        k: At least 1.
        config: How hard to try.
        most_tokens: The candidates of a query that have so many tokens or more are not scored.

    Raises:
        CorruptIndexError: inverted lists are damaged.
    """
    from colbert_rag.kernels import cpu

    described, rows, grid = snapshot.described, queries.rows, codec.grid
    sizes = np.diff(queries.ends, prepend=0)
    reach = np.array([reach_of(query) for query in np.split(rows.rotated, queries.ends[:-1])], np.float32)
    # zeros that are not written to cost nothing
    n_most = max((v.segment.record.n_documents for v in snapshot.views if v.segment.lists is not None), default=0)
    ends, is_scored = (
        np.zeros((len(queries.ends), len(snapshot.views)), np.int64),
        np.empty(len(queries.ends), np.bool_),
    )
    positions, scores = cpu.pruned(
        *(rows.rotated, rows.integers, rows.scale, queries.ends),
        *(codec.centroids, codec.directions, codec.group_size, n_opened(codec, sizes)),
        *(grid.byte_levels, grid.scales, grid.norms),
        *(described.segments, np.empty(0, codec.id_dtype)),
        *(reach, config.n_probe, n_candidates(k, config), most_tokens, n_finalists(k), k),
        *(table_steps(ROUGH_SLACK), table_steps(SLACK)),
        *(np.zeros(n_most, np.uint32), np.zeros(n_most, np.uint32), ends, is_scored),
    )
    _check_lists(snapshot, ends)
    found, first = [], 0
    for cuts, scored in zip(ends.tolist(), is_scored.tolist(), strict=True):
        bounds = pairwise([first, *(first + cut for cut in cuts)])
        parts = [(view, positions[a:b], scores[a:b]) for view, (a, b) in zip(snapshot.views, bounds, strict=True)]
        found.append(Pruned(scored, parts))
        first += cuts[-1] if cuts else 0
    return found


def _check_lists(snapshot: Snapshot, ends: NDArray[np.int64]) -> None:
    damaged = np.flatnonzero((ends < 0).any(axis=0))
    if len(damaged):
        record = snapshot.views[damaged[0]].segment.record
        what = f"document positions do not rise or are not below {record.n_documents:,}"
        msg = f"{record.name}/postings.npy: {what}. Restore the index from a backup."
        raise CorruptIndexError(msg)


def keep_best(scores: NDArray[Any], n: int) -> NDArray[np.int64]:
    """Indices of the best ``n`` and of whatever ties with the last of them."""
    if n >= len(scores):
        return np.arange(len(scores))
    border = np.partition(scores, len(scores) - n)[len(scores) - n]
    return np.flatnonzero(scores >= border)
