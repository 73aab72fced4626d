"""A ``VectorStoreQuery`` as the arguments of a search of the core."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from colbert_rag import Hit, InvalidQueryError, Mode, SearchConfig, filters
from llama_index_colbert_rag.filters import restriction

__all__ = ["SearchTerms", "query_text"]

_MODES: dict[VectorStoreQueryMode, Mode] = {
    VectorStoreQueryMode.DEFAULT: "maxsim",
    VectorStoreQueryMode.MMR: "maxsim",
    VectorStoreQueryMode.SPARSE: "bm25",
    VectorStoreQueryMode.TEXT_SEARCH: "bm25",
    VectorStoreQueryMode.HYBRID: "hybrid",
}
_MMR_THRESHOLD = 0.5
_WITHOUT_COUNTERPART = ("sparse_top_k", "output_fields", "embedding_field")


@dataclass(frozen=True, slots=True)
class SearchTerms:
    """How a search is done: the arguments of ``Index.search`` beside the text.

    Attributes:
        k: How many hits.
        mode: "maxsim", "bm25" or "hybrid".
        filter: None for no restriction.
        config: Passages, fusion, diversity and locality.
    """

    k: int
    mode: Mode
    filter: filters.Condition | None
    config: SearchConfig

    @classmethod
    def of(
        cls, query: VectorStoreQuery, *, passages: int = 0, passage_sentences: int = 1, locality: float = 0.0
    ) -> SearchTerms:
        """Translate a query.

        Args:
            query: Its embedding is not looked at.
            passages: Evidence passages per hit.
            passage_sentences: Sentences in a row that make a passage.
            locality: The share of its best place in the score of a long node, 0 to 1.

        Raises:
            InvalidQueryError: a mode or an option that has no counterpart, or that the mode has no use for.
            InvalidFilterError: the filters are refused.
        """
        mode = _known_mode(query.mode)
        _check_options(mode, query)
        for name in _WITHOUT_COUNTERPART:
            if getattr(query, name):
                msg = f"VectorStoreQuery.{name} has no counterpart in late interaction; leave it out."
                raise InvalidQueryError(msg)
        is_hybrid = mode is VectorStoreQueryMode.HYBRID
        k = query.hybrid_top_k if is_hybrid and query.hybrid_top_k is not None else query.similarity_top_k
        chosen = restriction(query.filters, query.node_ids, query.doc_ids)
        _check_locality(mode, locality)
        config = SearchConfig(passages=passages, passage_sentences=passage_sentences, locality=locality)
        return cls(k, _MODES[mode], chosen, _config(mode, query, config))

    def score_of(self, hit: Hit) -> float:
        """The score that LlamaIndex sees: what hits are ranked by, MaxSim as relevance from 0 to 1."""
        return hit.relevance if self.mode == "maxsim" else hit.score


def _known_mode(given: VectorStoreQueryMode | str) -> VectorStoreQueryMode:
    known = {mode.value: mode for mode in _MODES}
    name = given.value if isinstance(given, VectorStoreQueryMode) else given
    if name not in known:
        msg = f"query mode {name!r} is not supported; use one of {', '.join(known)}."
        raise InvalidQueryError(msg)
    return known[name]


def _check_options(mode: VectorStoreQueryMode, query: VectorStoreQuery) -> None:
    for name, user in (("alpha", VectorStoreQueryMode.HYBRID), ("mmr_threshold", VectorStoreQueryMode.MMR)):
        value = getattr(query, name)
        if value is None:
            continue
        if mode is not user:
            msg = f"{name} belongs to mode {user.value!r} and would do nothing in mode {mode.value!r}; leave it out."
            raise InvalidQueryError(msg)
        if not 0 <= value <= 1:
            msg = f"{name} must be between 0 and 1, found {value!r}."
            raise InvalidQueryError(msg)


def _check_locality(mode: VectorStoreQueryMode, locality: object) -> None:
    if isinstance(locality, bool) or not isinstance(locality, int | float) or not 0 <= locality <= 1:
        msg = f"locality must be a number from 0 to 1, found {locality!r}."
        raise InvalidQueryError(msg)
    if locality and _MODES[mode] == "bm25":
        msg = f"locality belongs to late interaction and would do nothing in mode {mode.value!r}; leave it out."
        raise InvalidQueryError(msg)


def _config(mode: VectorStoreQueryMode, query: VectorStoreQuery, config: SearchConfig) -> SearchConfig:
    if mode is VectorStoreQueryMode.MMR:
        threshold = _MMR_THRESHOLD if query.mmr_threshold is None else query.mmr_threshold
        return replace(config, diversity=1 - threshold)
    if mode is VectorStoreQueryMode.HYBRID and query.alpha is not None:
        return replace(config, fusion="weighted", maxsim_weight=query.alpha)
    return config


def query_text(query: VectorStoreQuery) -> str:
    """The text of a query.

    Raises:
        InvalidQueryError: there is an embedding only.
    """
    if query.query_str is None:
        msg = (
            "ColBERTVectorStore needs VectorStoreQuery.query_str: one embedding cannot stand for the vectors of all "
            "tokens of a query."
        )
        raise InvalidQueryError(msg)
    return query.query_str
