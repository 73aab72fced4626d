"""The stages of a search on one device, for a batch of queries; none of them waits for the host.

Axes: ``B`` queries, ``S`` blocks of a query, ``R = B * S * ROWS`` rows of query tokens, ``N`` documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeAlias

import numpy as np
import torch

from colbert_rag.codec.codec import QUERY_TOP
from colbert_rag.kernels.cuda.approximate import approximate_scores, score_table
from colbert_rag.kernels.cuda.dense import dense_scores, query_parts
from colbert_rag.kernels.cuda.launching import ROWS, Documents, n_blocks_of
from colbert_rag.kernels.cuda.residual import CodedQuery, code_query, residual_scores
from colbert_rag.search.candidates import HEAVY, REACH
from colbert_rag.search.device.resident import Live, Part, ResidentCodec
from colbert_rag.types import Float32Array

__all__ = [
    "Batch",
    "Scorer",
    "Searched",
    "approximate_totals",
    "best",
    "candidates",
    "coded",
    "coded_scorer",
    "plain_scorer",
    "scores_of",
    "scores_of_all",
]

Scorer: TypeAlias = Callable[[Part, Documents, torch.Tensor], None]
"""Writes MaxSim of each block of queries with documents of a part into ``(B * S, N) float32``."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Queries on a device: ``rows (R, D) float32``, each query in blocks of its own, filled up with zeros."""

    rows: torch.Tensor
    n_queries: int

    @property
    def blocks_per_query(self) -> int:
        """S."""
        return self.n_blocks // self.n_queries

    @property
    def n_blocks(self) -> int:
        """B * S."""
        return len(self.rows) // ROWS

    @property
    def reach(self) -> torch.Tensor:
        """``(R,) float32``: of the query of each row, as ``candidates.reach_of`` has it."""
        heaviest = self.rows.norm(dim=1).view(self.n_queries, -1).amax(dim=1)
        reach = float(REACH) * (heaviest / float(HEAVY)).clamp_min(1)
        of_rows: torch.Tensor = reach[:, None].expand(-1, len(self.rows) // self.n_queries).reshape(-1)
        return of_rows

    def summed(self, scores: torch.Tensor) -> torch.Tensor:
        """``(B, N)`` from the ``(B * S, N)`` of its blocks."""
        return scores if self.blocks_per_query == 1 else scores.view(self.n_queries, -1, scores.shape[1]).sum(dim=1)

    @staticmethod
    def laid_out(queries: Sequence[Float32Array]) -> Float32Array:
        """``(R, D) float32``: every query in as many blocks as the longest needs."""
        n_rows = ROWS * n_blocks_of(max(map(len, queries)))
        rows = np.zeros((len(queries), n_rows, queries[0].shape[1]), np.float32)
        for row, query in zip(rows, queries, strict=True):
            row[: len(query)] = query
        return rows.reshape(-1, rows.shape[2])


@dataclass(frozen=True, slots=True)
class Searched:
    """Parts of one device and which of their documents are searched; those of all parts are numbered in a row."""

    parts: Sequence[Part]
    live: Sequence[Live]

    @property
    def count(self) -> int:
        """N."""
        return sum(live.count for live in self.live)

    @property
    def keys(self) -> torch.Tensor:
        """``(N,) int64``."""
        return torch.cat([live.keys for live in self.live])

    def numbered(self) -> Iterator[tuple[Part, Live, int, int]]:
        """Every part with documents, and the numbers of its first and behind its last."""
        first = 0
        for part, live in zip(self.parts, self.live, strict=True):
            if live.count:
                yield part, live, first, first + live.count
            first += live.count


def coded(batch: Batch, resident: ResidentCodec) -> CodedQuery:
    """Rotated, rounded to 14 bits and scored with every centroid, as ``Codec.quantise_query`` does it."""
    rotated = batch.rows @ resident.rotation
    top = rotated.abs().amax(dim=1)
    scale = torch.where(top > 0, top / QUERY_TOP, torch.ones_like(top))
    integers = torch.round(rotated / scale[:, None]).to(torch.int32)
    codec = resident.codec
    as_bytes = code_query(integers, 8 // codec.bits, codec.code_bytes)
    return CodedQuery(as_bytes, scale, resident.centroids @ rotated.T)


def plain_scorer(batch: Batch) -> Scorer:
    """Scores parts that hold plain vectors, of float16 or float32."""
    parts_for = cache(partial(query_parts, batch.rows))

    def score(part: Part, documents: Documents, out: torch.Tensor) -> None:
        vectors = part.columns["vectors"]
        dense_scores(parts_for(vectors.dtype), vectors, documents, batch.blocks_per_query, out)

    return score


def coded_scorer(batch: Batch, query: CodedQuery, resident: ResidentCodec) -> Scorer:
    """Scores parts that hold compressed tokens."""

    def score(part: Part, documents: Documents, out: torch.Tensor) -> None:
        residual_scores(query, resident.levels, part.tokens, documents, batch.blocks_per_query, out)

    return score


def scores_of_all(batch: Batch, searched: Searched, score: Scorer) -> torch.Tensor:
    """Exact scores of every document, ``(B, N) float32``."""
    out = batch.rows.new_empty((batch.n_blocks, searched.count))
    for part, live, first, last in searched.numbered():
        score(part, live.documents, out[:, first:last])
    return batch.summed(out)


def scores_of(batch: Batch, searched: Searched, chosen: torch.Tensor, score: Scorer) -> torch.Tensor:
    """Exact scores of documents that each query has chosen by number, ``(B, C)``: ``(B, C) float32``."""
    out = batch.rows.new_full((batch.n_blocks, chosen.shape[1]), -torch.inf)
    for part, live, first, last in searched.numbered():
        is_here = (chosen >= first) & (chosen < last)
        places = torch.where(is_here, chosen - first, 0)
        starts = live.documents.starts[places]
        # empty documents are passed over: they lie in other parts
        score(part, Documents(starts, torch.where(is_here, live.documents.ends[places], starts)), out)
    return batch.summed(out)


def candidates(batch: Batch, searched: Searched, query: CodedQuery, wanted: int) -> torch.Tensor:
    """Numbers of the documents that are best by their centroids alone, ``(B, C) int64``."""
    totals = approximate_totals(batch, searched, score_table(query.centroid_scores, batch.reach))
    return totals.topk(min(wanted, searched.count), dim=1, sorted=False).indices


def approximate_totals(batch: Batch, searched: Searched, table: torch.Tensor) -> torch.Tensor:
    """Sums of table entries of every document, ``(B, N)``."""
    out = torch.empty((batch.n_blocks, searched.count), dtype=torch.int32, device=table.device)
    for part, live, first, last in searched.numbered():
        approximate_scores(table, part.tokens.centroid_ids, live.documents, out[:, first:last])
    return batch.summed(out)


def best(searched: Searched, chosen: torch.Tensor | None, scores: torch.Tensor, n: int) -> torch.Tensor:
    """The keys of the best documents and the bits of their scores, best first, in one array to be fetched at once.

    Args:
        searched: What the numbers mean.
        chosen: ``(B, C)`` numbers of the documents that were scored, None for all.
        scores: ``(B, C) float32``.
        n: At most C.

    Returns:
        ``(2, B, n) int64``.
    """
    top = scores.topk(n, dim=1)
    numbers = top.indices if chosen is None else chosen.gather(1, top.indices)
    return torch.stack([searched.keys[numbers], top.values.contiguous().view(torch.int32).to(torch.int64)])
