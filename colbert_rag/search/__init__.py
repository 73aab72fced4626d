"""Vectors in, ranked documents out: snapshots, the approximate and the exact pass, evidence."""

from colbert_rag.search.diversity import diverse
from colbert_rag.search.fusion import reciprocal_rank_fusion, weighted_fusion
from colbert_rag.search.local import LOCAL_TOKENS, local_score
from colbert_rag.search.passages import best_passages, passages_of_all, word_passages
from colbert_rag.search.ranker import ProcessorRanker, Ranker
from colbert_rag.search.searcher import Ranking, rank
from colbert_rag.search.snapshot import (
    SegmentView,
    Snapshot,
    column_shape,
    narrowed,
    open_codec,
    open_snapshot,
    snapshot_in_memory,
    view_of,
)
from colbert_rag.search.workers import Workers

__all__ = [
    "LOCAL_TOKENS",
    "ProcessorRanker",
    "Ranker",
    "Ranking",
    "SegmentView",
    "Snapshot",
    "Workers",
    "best_passages",
    "column_shape",
    "diverse",
    "local_score",
    "narrowed",
    "open_codec",
    "open_snapshot",
    "passages_of_all",
    "rank",
    "reciprocal_rank_fusion",
    "snapshot_in_memory",
    "view_of",
    "weighted_fusion",
    "word_passages",
]
