"""Vectors in, ranked documents out: snapshots, the approximate and the exact pass, evidence."""

from colbert_rag.search.passages import best_passages
from colbert_rag.search.searcher import Ranking, rank
from colbert_rag.search.snapshot import SegmentView, Snapshot, column_shape, open_codec, open_snapshot, view_of
from colbert_rag.search.workers import Workers

__all__ = [
    "Ranking",
    "SegmentView",
    "Snapshot",
    "Workers",
    "best_passages",
    "column_shape",
    "open_codec",
    "open_snapshot",
    "rank",
    "view_of",
]
