"""From queries to hits: keeps the newest commit mapped and fills in texts and evidence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colbert_rag.attempts import read_newest
from colbert_rag.callers import caller_errors_raised
from colbert_rag.errors import IndexClosedError
from colbert_rag.evidence import BestTokens, best_tokens, find_passages
from colbert_rag.rankings import Question, Scope, Scored, exact_scores, rankings, relevance_of
from colbert_rag.search import Ranker, Snapshot, Workers, narrowed, open_snapshot, word_passages
from colbert_rag.selection import CheckedFilter, Selections
from colbert_rag.storage import Catalog, Reading, words_of
from colbert_rag.types import Document, Hit, JsonValue, Mode, Passage, SearchConfig

__all__ = ["Answers"]


class Answers:
    """Searches the newest commit of an index; safe to use from many threads."""

    def __init__(self, root: Path, catalog: Catalog, ranker: Ranker) -> None:
        self._root = root
        self._ranker = ranker
        self._catalog = catalog
        self._workers: Workers | None = None
        self._snapshot: Snapshot | None = None
        self._is_closed = False
        self._guard = threading.Lock()
        self._selections = Selections()

    def check_usable(self) -> None:
        """Refuse to search an index that is closed or was opened before a fork.

        Raises:
            IndexClosedError: it is.
        """
        self._catalog.check_usable()

    def close(self) -> None:
        """Let go of the maps and end the threads; a search that goes on gets no new ones."""
        with self._guard:
            self._is_closed = True
            workers, self._workers, self._snapshot = self._workers, None, None
        if workers is not None:
            workers.close()
        self._ranker.close()

    def search(
        self, questions: Sequence[Question], k: int, mode: Mode, chosen: CheckedFilter | None, config: SearchConfig
    ) -> list[list[Hit]]:
        """The best ``k`` documents for each question, all from one commit.

        Args:
            questions: With vectors, unless the mode is "bm25" and diversity is 0.
            k: At least 1.
            mode: What to rank by.
            chosen: A checked filter, None for every document.
            config: How hard to try.
        """

        def answer(reading: Reading, commits: int) -> list[list[Hit]]:
            scope = self._scope(reading, commits, chosen)
            return _filled(scope, questions, rankings(scope, questions, k, mode, config), mode, config)

        with caller_errors_raised():
            return read_newest(self._catalog, answer)

    def search_aligned(
        self, question: Question, k: int, mode: Mode, chosen: CheckedFilter | None, config: SearchConfig
    ) -> list[tuple[Hit, BestTokens]]:
        """:meth:`search` for one question with vectors; each hit with the tokens that they match in it.

        In mode "maxsim" without locality the scores are of all tokens, where a pruned search may have passed over
        some.
        """

        def answer(reading: Reading, commits: int) -> list[tuple[Hit, BestTokens]]:
            scope = self._scope(reading, commits, chosen)
            [found] = rankings(scope, [question], k, mode, config)
            keys = [key for key, _ in found]
            if mode == "maxsim" and not config.locality:
                exact = exact_scores(scope, question, set(keys))
                found = [(key, exact[key]) for key in keys]
            [hits] = _filled(scope, [question], [found], mode, config)
            texts = {key: hit.text for key, hit in zip(keys, hits, strict=True)}
            matched = best_tokens(scope.snapshot(), texts, question.vectors, scope.workers)
            return [(hit, matched[key]) for key, hit in zip(keys, hits, strict=True)]

        with caller_errors_raised():
            return read_newest(self._catalog, answer)

    def _scope(self, reading: Reading, commits: int, chosen: CheckedFilter | None) -> Scope:
        if chosen is None:
            return Scope(
                self._root, reading, lambda: self._current(reading, commits), None, self._threads(), self._ranker
            )
        keys = self._selections.keys(reading, commits, chosen)
        snapshot = self._narrowed(reading, commits, keys)
        return Scope(self._root, reading, snapshot, frozenset(keys.tolist()), self._threads(), self._ranker)

    def _narrowed(self, reading: Reading, commits: int, keys: NDArray[np.int64]) -> Callable[[], Snapshot]:
        made: list[Snapshot] = []

        def snapshot() -> Snapshot:
            if not made:
                made.append(narrowed(self._current(reading, commits), keys))
            return made[0]

        return snapshot

    def _current(self, reading: Reading, commits: int) -> Snapshot:
        with self._guard:
            self._check_not_overtaken()
            if self._snapshot is None or self._snapshot.commits != commits:
                state = self._catalog.state(reading)
                self._snapshot = open_snapshot(self._root, state, reading.tombstones(), self._snapshot)
            return self._snapshot

    def _threads(self) -> Workers:
        with self._guard:
            self._check_not_overtaken()
            if self._workers is None:
                self._workers = Workers()
            return self._workers

    def _check_not_overtaken(self) -> None:
        """Refuse to make anew what :meth:`close` has ended, and nobody would end again.

        Raises:
            IndexClosedError: the index was closed while a search went on.
        """
        if self._is_closed:
            again = f"Open it again with Index.open({str(self._root)!r})."
            msg = f"{self._root}: the index was closed during a search. {again}"
            raise IndexClosedError(msg)


def _filled(
    scope: Scope, questions: Sequence[Question], found: Sequence[Scored], mode: Mode, config: SearchConfig
) -> list[list[Hit]]:
    documents = scope.reading.documents(list({key for scored in found for key, _ in scored}))
    if mode == "bm25":
        return [
            _lexical_hits(question, scored, documents, config)
            for question, scored in zip(questions, found, strict=True)
        ]
    snapshot, is_fused = scope.snapshot(), mode == "hybrid"

    def hits(pair: tuple[Question, Scored], workers: Workers) -> list[Hit]:
        return _hits(replace(scope, workers=workers), snapshot, *pair, documents, config, is_fused=is_fused)

    return scope.workers.each(hits, list(zip(questions, found, strict=True)))


def _hits(
    scope: Scope,
    snapshot: Snapshot,
    question: Question,
    scored: Scored,
    documents: dict[int, Document],
    config: SearchConfig,
    *,
    is_fused: bool,
) -> list[Hit]:
    here = {key: documents[key] for key, _ in scored}
    passages = find_passages(snapshot, here, question.vectors, config, scope.workers)
    semantic = exact_scores(scope, question, set(here)) if is_fused else dict(scored)
    n_query = len(question.vectors)
    return [
        _hit(here[key], score, passages.get(key, ()), relevance_of(semantic[key], n_query)) for key, score in scored
    ]


def _lexical_hits(
    question: Question, scored: Scored, documents: dict[int, Document], config: SearchConfig
) -> list[Hit]:
    words = words_of(question.text) if config.passages else []
    return [
        _hit(
            documents[key],
            score,
            word_passages(documents[key].text, words, config.passages, config.passage_sentences),
            0.0,
        )
        for key, score in scored
    ]


def _hit(document: Document, score: float, passages: tuple[Passage, ...], relevance: float) -> Hit:
    return Hit(
        id=document.id,
        score=score,
        text=document.text,
        # hits of one search may be of one document: what a caller changes in his must not show in another's
        metadata={name: _copied(value) for name, value in document.metadata.items()},
        passages=passages,
        relevance=relevance,
        heading=document.heading,
        ref_id=document.ref_id,
        extra=_copied(document.extra),
    )


def _copied(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {name: _copied(inner) for name, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value
