"""What a caller asks becomes checked questions with vectors; several that are alike are answered together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from colbert_rag.answers import Answers
from colbert_rag.errors import IndexClosedError
from colbert_rag.rankings import Question
from colbert_rag.selection import CheckedFilter, Filter, FunctionFilter, checked_filter
from colbert_rag.types import Float32Array, Hit, Mode, SearchConfig, TextEncoder
from colbert_rag.validation import (
    check_k,
    check_mode,
    check_queries,
    check_queries_encoded,
    check_search_config,
    check_vector_list,
)

if TYPE_CHECKING:
    from colbert_rag.coalescing import Coalescer

__all__ = ["Asking", "Terms"]

_NO_VECTORS = np.zeros((0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a search is done, checked: requests with equal terms can be answered together."""

    k: int
    mode: Mode
    chosen: CheckedFilter | None
    config: SearchConfig

    @classmethod
    def of(cls, k: int, mode: Mode, chosen: Filter | None, config: SearchConfig) -> Terms:
        """Check them.

        Raises:
            InvalidQueryError: k, mode or config is refused.
            InvalidFilterError: the filter is refused.
        """
        checked = None if chosen is None else checked_filter(chosen)
        return cls(check_k(k), check_mode(mode), checked, check_search_config(config))


class Asking:
    """Searches of one index by text and by vectors.

    Args:
        answers: What answers them.
        encoder: Gives the encoder, at the first query that needs one.
        dim: Gives the dimensions of a vector.
    """

    def __init__(self, answers: Answers, encoder: Callable[[], TextEncoder], dim: Callable[[], int]) -> None:
        self._answers = answers
        self._encoder = encoder
        self._dim = dim
        self._guard = threading.Lock()
        self._coalescer: Coalescer[tuple[str, Terms], list[Hit]] | None = None
        self._is_closed = False

    def texts(self, queries: Sequence[str], terms: Terms) -> list[list[Hit]]:
        """Hits for each query; all are encoded in one pass."""
        return self._together([(query, terms) for query in check_queries(queries)])

    def vectors(self, queries: Sequence[Float32Array], terms: Terms) -> list[list[Hit]]:
        """Hits for each query that was encoded elsewhere."""
        return self._answer([Question("", vectors) for vectors in check_vector_list(queries, self._dim())], terms)

    async def text(self, query: str, terms: Terms) -> list[Hit]:
        """Hits for a query; concurrent callers are answered together.

        A request that may take long by itself, for a function or for diversity, keeps nobody else waiting.
        """
        import asyncio

        from colbert_rag.coalescing import Coalescer

        check_queries([query])
        self._answers.check_usable()
        if terms.config.diversity or isinstance(terms.chosen, FunctionFilter):
            return (await asyncio.to_thread(self.texts, [query], terms))[0]
        with self._guard:
            if self._is_closed:
                # overtaken by close(), which would not end a thread that is begun now
                raise IndexClosedError("the index is closed. Open it again with Index.open.")
            if self._coalescer is None:
                self._coalescer = Coalescer(self._together)
        return await self._coalescer.ask((query, terms))

    def _together(self, requests: Sequence[tuple[str, Terms]]) -> list[list[Hit]]:
        """Hits for each checked request: one forward pass for all, one search for those of equal terms."""
        self._answers.check_usable()
        vectors = self._encoded({query for query, terms in requests if terms.mode != "bm25"})
        groups: dict[Terms, list[str]] = {}
        for query, terms in requests:
            groups.setdefault(terms, []).append(query)
        found = {}
        for terms, queries in groups.items():
            questions = [Question(query, vectors.get(query, _NO_VECTORS)) for query in queries]
            found[terms] = iter(self._answer(questions, terms))
        return [next(found[terms]) for _, terms in requests]

    def _encoded(self, queries: set[str]) -> dict[str, Float32Array]:
        texts = sorted(queries)
        if not texts:
            return {}
        return dict(
            zip(texts, check_queries_encoded(self._encoder().encode_queries(texts), texts, self._dim()), strict=True)
        )

    def _answer(self, questions: Sequence[Question], terms: Terms) -> list[list[Hit]]:
        if not questions:
            return []
        return self._answers.search(questions, terms.k, terms.mode, terms.chosen, terms.config)

    def close(self) -> None:
        """End the thread of :meth:`text`."""
        with self._guard:
            self._is_closed = True
            if self._coalescer is not None:
                self._coalescer.close()
