"""From query vectors to hits: keeps the newest commit mapped and fills in texts and evidence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from colbert_rag.errors import CorruptIndexError
from colbert_rag.evidence import find_passages
from colbert_rag.search import Snapshot, Workers, open_snapshot, rank
from colbert_rag.storage import Catalog, Reading
from colbert_rag.types import Document, Float32Array, Hit, Passage, SearchConfig

__all__ = ["Answers"]

# reciprocal rank fusion: the constant and depth of Cormack et al. 2009
_FUSION_CONSTANT = 60
_FUSION_DEPTH = 100
# a reader that meets a merge maps the newer commit instead; merges are rarer than this many in a row
_ATTEMPTS = 5

Scored = list[tuple[int, float]]
R = TypeVar("R")


class Answers:
    """Searches the newest commit of an index; safe to use from many threads."""

    def __init__(self, root: Path, catalog: Catalog) -> None:
        self._root = root
        self._catalog = catalog
        self._workers: Workers | None = None
        self._snapshot: Snapshot | None = None
        self._guard = threading.Lock()

    def close(self) -> None:
        """Let go of the maps and end the threads."""
        with self._guard:
            workers, self._workers, self._snapshot = self._workers, None, None
        if workers is not None:
            workers.close()

    def semantic(self, queries: Sequence[Float32Array], k: int, config: SearchConfig) -> list[list[Hit]]:
        """Late interaction; one list of hits for each ``(Q, D) float32`` query."""

        def answer(reading: Reading, snapshot: Snapshot) -> list[list[Hit]]:
            ranked = [self._best(reading, snapshot, query, k, config) for query in queries]
            return [
                self._hits(reading, snapshot, query, scored, config)
                for query, scored in zip(queries, ranked, strict=True)
            ]

        return self._read(answer)

    def lexical(self, texts: Sequence[str], k: int) -> list[list[Hit]]:
        """BM25 over words; one list of hits for each query."""
        with self._catalog.reading() as reading:
            hits = []
            for text in texts:
                scored = reading.bm25(text, k)
                documents = reading.documents([key for key, _ in scored])
                hits.append([_hit(documents[key], score, ()) for key, score in scored])
            return hits

    def hybrid(
        self, texts: Sequence[str], queries: Sequence[Float32Array], k: int, config: SearchConfig
    ) -> list[list[Hit]]:
        """Late interaction and BM25, fused by their ranks."""
        depth = max(k, _FUSION_DEPTH)

        def answer(reading: Reading, snapshot: Snapshot) -> list[list[Hit]]:
            hits = []
            for text, query in zip(texts, queries, strict=True):
                both = (self._best(reading, snapshot, query, depth, config), reading.bm25(text, depth))
                hits.append(self._hits(reading, snapshot, query, _fused(reading, both, k), config, is_fused=True))
            return hits

        return self._read(answer)

    def _read(self, answer: Callable[[Reading, Snapshot], R]) -> R:
        for attempt in range(_ATTEMPTS):
            with self._catalog.reading() as reading:
                commits = reading.commits()
                try:
                    return answer(reading, self._current(reading, commits))
                except CorruptIndexError:
                    # a merge may have removed a file between our reading of the catalog and our mapping of it
                    if attempt + 1 == _ATTEMPTS or not self._has_moved_on(commits):
                        raise
        raise AssertionError("unreachable")

    def _has_moved_on(self, commits: int) -> bool:
        with self._catalog.reading() as reading:
            return reading.commits() > commits

    def _current(self, reading: Reading, commits: int) -> Snapshot:
        with self._guard:
            if self._snapshot is None or self._snapshot.commits != commits:
                state = self._catalog.state(reading)
                self._snapshot = open_snapshot(self._root, state, reading.tombstones(), self._snapshot)
            return self._snapshot

    def _threads(self) -> Workers:
        with self._guard:
            if self._workers is None:
                self._workers = Workers()
            return self._workers

    def _best(self, reading: Reading, snapshot: Snapshot, query: Float32Array, k: int, config: SearchConfig) -> Scored:
        """Keys and scores of the best ``k``; equal scores are ordered by id."""
        ranking = rank(snapshot, query, k, config, self._threads())
        keys, scores = ranking.keys.tolist(), ranking.scores.tolist()
        ids = reading.ids_of(keys)
        if len(ids) < len(keys):
            msg = f"{self._root}: there are vectors of documents without a record. Run: colbert-rag verify {self._root}"
            raise CorruptIndexError(msg)
        order = sorted(range(len(keys)), key=lambda n: (-scores[n], ids[keys[n]]))[:k]
        return [(keys[n], scores[n]) for n in order]

    def _hits(
        self,
        reading: Reading,
        snapshot: Snapshot,
        query: Float32Array,
        scored: Scored,
        config: SearchConfig,
        *,
        is_fused: bool = False,
    ) -> list[Hit]:
        documents = reading.documents([key for key, _ in scored])
        passages = find_passages(snapshot, documents, query, config.passages, self._threads())
        n_query = None if is_fused else len(query)
        return [_hit(documents[key], score, passages.get(key, ()), n_query) for key, score in scored]


def _fused(reading: Reading, rankings: Sequence[Scored], k: int) -> Scored:
    """Reciprocal rank fusion; the score is the sum of ``1 / (60 + rank)``."""
    totals: dict[int, float] = {}
    for ranking in rankings:
        for place, (key, _) in enumerate(ranking, start=1):
            totals[key] = totals.get(key, 0.0) + 1 / (_FUSION_CONSTANT + place)
    ids = reading.ids_of(list(totals))
    return sorted(totals.items(), key=lambda item: (-item[1], ids[item[0]]))[:k]


def _hit(document: Document, score: float, passages: tuple[Passage, ...], n_query: int | None = None) -> Hit:
    relevance = 0.0 if n_query is None else min(1.0, max(0.0, score / n_query))
    return Hit(document.id, score, document.text, dict(document.metadata), passages, relevance)
