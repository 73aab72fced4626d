"""What ranks the documents of a commit: the processor, or devices beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from colbert_rag.codec import Packer, ProcessorPacker
from colbert_rag.search.searcher import Ranking, rank_all
from colbert_rag.search.snapshot import Snapshot
from colbert_rag.search.workers import Workers
from colbert_rag.types import Float32Array, SearchConfig

__all__ = ["ProcessorRanker", "Ranker"]


class Ranker(Protocol):
    """Ranks documents for several queries; safe to use from many threads."""

    @property
    def device(self) -> str:
        """Where: "cpu", "cuda:0", or several with commas between them."""

    @property
    def wanted(self) -> str:
        """What was asked for, "auto" for example: with it the same can be asked for elsewhere."""

    @property
    def packer(self) -> Packer:
        """What trains and compresses there when documents are written."""

    def rank(
        self, snapshot: Snapshot, queries: Sequence[Float32Array], k: int, config: SearchConfig, workers: Workers
    ) -> list[Ranking]:
        """For each query the best ``k`` documents and all that tie with the last.

        Args:
            snapshot: One commit.
            queries: ``(Q, D) float32`` each, rows of mean length 1.
            k: At least 1.
            config: How hard to try.
            workers: Threads to spread over.
        """

    def close(self) -> None:
        """Free what is held for later searches."""


class ProcessorRanker:
    """Ranks on the processor, one query after the other or one on each thread."""

    def __init__(self, wanted: str = "cpu") -> None:
        self.wanted = wanted
        self.packer = ProcessorPacker()

    @property
    def device(self) -> str:
        """Always "cpu"."""
        return "cpu"

    def rank(
        self, snapshot: Snapshot, queries: Sequence[Float32Array], k: int, config: SearchConfig, workers: Workers
    ) -> list[Ranking]:
        """See :class:`Ranker`."""
        return rank_all(snapshot, queries, k, config, workers)

    def close(self) -> None:
        """Holds nothing."""
