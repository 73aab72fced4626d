from __future__ import annotations

import pytest
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters, VectorStoreQuery, VectorStoreQueryMode
from llama_index_colbert_rag.search import SearchTerms, query_text

from colbert_rag import Hit, InvalidQueryError, SearchConfig, filters


@pytest.mark.parametrize(
    ("query", "mode", "config"),
    [
        ({}, "maxsim", SearchConfig(passages=0)),
        ({"mode": "text_search"}, "bm25", SearchConfig(passages=0)),
        ({"mode": VectorStoreQueryMode.SPARSE}, "bm25", SearchConfig(passages=0)),
        ({"mode": "hybrid"}, "hybrid", SearchConfig(passages=0)),
        ({"mode": "hybrid", "alpha": 0.25}, "hybrid", SearchConfig(0, fusion="weighted", maxsim_weight=0.25)),
        ({"mode": "hybrid", "alpha": 0.0}, "hybrid", SearchConfig(0, fusion="weighted", maxsim_weight=0.0)),
        ({"mode": "mmr"}, "maxsim", SearchConfig(passages=0, diversity=0.5)),
        ({"mode": "mmr", "mmr_threshold": 0.0}, "maxsim", SearchConfig(passages=0, diversity=1.0)),
        ({"mode": "mmr", "mmr_threshold": 0.75}, "maxsim", SearchConfig(passages=0, diversity=0.25)),
    ],
)
def test_a_mode_of_llama_index_is_one_of_ours(query, mode: str, config: SearchConfig):
    terms = SearchTerms.of(VectorStoreQuery(query_str="a", similarity_top_k=3, **query))
    expected = SearchConfig(
        passages=0, fusion=config.fusion, maxsim_weight=config.maxsim_weight, diversity=config.diversity
    )
    assert (terms.k, terms.mode, terms.filter, terms.config) == (3, mode, None, expected)


@pytest.mark.parametrize("mode", ["svm", "semantic_hybrid", "linear_regression", "logistic_regression"])
def test_a_mode_without_counterpart_is_refused_with_those_that_have_one(mode: str):
    words = f"query mode '{mode}' is not supported; use one of default, mmr, sparse, text_search, hybrid"
    with pytest.raises(InvalidQueryError, match=words):
        SearchTerms.of(VectorStoreQuery(query_str="a", mode=mode))


@pytest.mark.parametrize(
    ("name", "value"), [("sparse_top_k", 5), ("output_fields", ["text"]), ("embedding_field", "vector")]
)
def test_an_option_without_counterpart_is_refused(name: str, value: object):
    with pytest.raises(InvalidQueryError, match=rf"VectorStoreQuery\.{name} has no counterpart"):
        SearchTerms.of(VectorStoreQuery(query_str="a", **{name: value}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": 0.5}, "alpha belongs to mode 'hybrid' and would do nothing in mode 'default'"),
        ({"mode": "hybrid", "alpha": 1.5}, "alpha must be between 0 and 1, found 1.5"),
        ({"mode": "hybrid", "mmr_threshold": 0.5}, "mmr_threshold belongs to mode 'mmr'"),
        ({"mode": "mmr", "mmr_threshold": -1}, "mmr_threshold must be between 0 and 1, found -1"),
        ({"mode": "hybird"}, "query mode 'hybird' is not supported; use one of default"),
    ],
)
def test_an_option_that_its_mode_has_no_use_for_is_refused(options, words: str):
    with pytest.raises(InvalidQueryError, match=words):
        SearchTerms.of(VectorStoreQuery(query_str="a", **options))


def test_the_number_of_hybrid_results_is_hybrid_top_k_where_that_is_given():
    query = VectorStoreQuery(query_str="a", similarity_top_k=5, hybrid_top_k=2, mode="hybrid")
    assert SearchTerms.of(query).k == 2
    assert SearchTerms.of(VectorStoreQuery(query_str="a", similarity_top_k=5, hybrid_top_k=2)).k == 5


def test_all_restrictions_hold_together():
    given = MetadataFilters(filters=[MetadataFilter(key="a", value=1)])
    terms = SearchTerms.of(VectorStoreQuery(query_str="a", filters=given, node_ids=["n"], doc_ids=["d"]))
    assert terms.filter == filters.And(
        (
            filters.And((filters.Compare("a", "eq", 1),)),
            filters.HasId(("n",)),
            filters.Or((filters.HasRef(("d",)), filters.And((filters.HasId(("d",)), filters.HasRef((None,)))))),
        )
    )


def test_the_score_is_what_hits_are_ranked_by():
    hit = Hit("a", 7.5, "text", {}, relevance=0.5)
    scores = {
        mode: SearchTerms.of(VectorStoreQuery(query_str="a", mode=mode)).score_of(hit) for mode in ("default", "mmr")
    }
    assert scores == {"default": 0.5, "mmr": 0.5}
    for mode in ("sparse", "hybrid"):
        assert SearchTerms.of(VectorStoreQuery(query_str="a", mode=mode)).score_of(hit) == 7.5


def test_a_query_of_an_embedding_alone_is_refused():
    with pytest.raises(InvalidQueryError, match=r"needs VectorStoreQuery\.query_str"):
        query_text(VectorStoreQuery(query_embedding=[0.1]))
    assert query_text(VectorStoreQuery(query_str="a")) == "a"


def test_locality_is_that_of_the_core_and_has_no_use_by_words():
    for mode in ("default", "hybrid", "mmr"):
        terms = SearchTerms.of(VectorStoreQuery(query_str="a", mode=mode), locality=0.5)
        assert terms.config.locality == 0.5
    for wrong in (-0.1, 1.5, "1", True, None):
        with pytest.raises(InvalidQueryError, match="locality must be a number from 0 to 1"):
            SearchTerms.of(VectorStoreQuery(query_str="a"), locality=wrong)
    with pytest.raises(InvalidQueryError, match="locality belongs to late interaction"):
        SearchTerms.of(VectorStoreQuery(query_str="a", mode="sparse"), locality=0.5)
