"""Hybrid and diverse rankings against a computation from the parts' own scores."""

from __future__ import annotations

import numpy as np
import pytest

from colbert_rag import Document, SearchConfig

TEXTS = {
    "both": "amber birch cedar",
    "vectors": "amber birch delta delta",
    "words": "cedar cedar cedar fjord glade harbor island juniper",
    "neither": "kelp lagoon meadow",
}
QUERY = "amber birch cedar"


@pytest.fixture
def index(new_index):
    index = new_index()
    index.add([Document(i, text, {"kind": i}) for i, text in TEXTS.items()])
    return index


def scores(index, mode, **options):
    return {hit.id: hit.score for hit in index.search(QUERY, k=10, mode=mode, **options)}


def ranks(index, mode):
    return {hit.id: n for n, hit in enumerate(index.search(QUERY, k=10, mode=mode), start=1)}


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_fusion_by_rank_sums_weighted_reciprocal_ranks(index, weight):
    found = scores(index, "hybrid", config=SearchConfig(fusion="rrf", maxsim_weight=weight))
    semantic, lexical = ranks(index, "maxsim"), ranks(index, "bm25")
    expected = {
        i: 2 * weight / (60 + semantic[i]) + (2 * (1 - weight) / (60 + lexical[i]) if i in lexical else 0)
        for i in TEXTS
    }
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_weighted_fusion_mixes_both_scores_on_one_scale(index, weight):
    found = scores(index, "hybrid", config=SearchConfig(fusion="weighted", maxsim_weight=weight))
    expected = dict.fromkeys(TEXTS, 0.0)
    semantic, lexical = scores(index, "maxsim"), scores(index, "bm25")
    for part, share, low in ((semantic, weight, min(semantic.values())), (lexical, 1 - weight, 0)):
        high = max(part.values())
        for i, score in part.items():
            expected[i] += share * (score - low) / (high - low)
    assert found == pytest.approx(expected, abs=1e-6)


def test_hits_fall_and_equal_ones_are_ordered_by_id(new_index):
    index = new_index()
    index.add([Document(i, "amber birch") for i in ("c", "a", "b")])
    for mode in ("maxsim", "bm25", "hybrid"):
        for fusion in ("rrf", "weighted"):
            hits = index.search("amber", mode=mode, config=SearchConfig(fusion=fusion))
            if (mode, fusion) != ("hybrid", "rrf"):
                assert [hit.id for hit in hits] == ["a", "b", "c"]
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_relevance_is_maxsim_over_query_vectors_in_both_modes_that_have_it(index):
    semantic = {hit.id: hit for hit in index.search(QUERY, k=10)}
    for config in (SearchConfig(), SearchConfig(fusion="rrf")):
        for hit in index.search(QUERY, k=10, mode="hybrid", config=config):
            assert hit.relevance == pytest.approx(min(1, max(0, semantic[hit.id].score / 3)), abs=1e-6)
    assert [hit.relevance for hit in index.search(QUERY, k=10, mode="bm25")] == [0.0, 0.0, 0.0]


def test_every_hit_that_holds_evidence_carries_a_passage(index):
    for mode in ("maxsim", "bm25", "hybrid"):
        for hit in index.search(QUERY, k=10, mode=mode):
            assert hit.passages[0].text == hit.text
            assert hit.text[hit.passages[0].start : hit.passages[0].end] == hit.passages[0].text
        assert all(not hit.passages for hit in index.search(QUERY, mode=mode, config=SearchConfig(passages=0)))


@pytest.mark.parametrize("mode", ["maxsim", "bm25", "hybrid"])
@pytest.mark.parametrize("exact_tokens", [0, 10**6])
def test_a_filter_leaves_the_same_ranking_without_the_others(new_index, documents, mode, exact_tokens):
    index = new_index(exact_tokens=exact_tokens)
    index.add(documents)
    alone = new_index("alone", exact_tokens=10**6)
    alone.add([d for d in documents if d.metadata["n"] % 7 == 3])
    query = documents[3].text.split(".")[1]
    found = index.search(query, k=50, mode=mode, filter=lambda d: d.metadata["n"] % 7 == 3)
    expected = alone.search(query, k=50, mode=mode)
    assert {hit.id for hit in found} == {hit.id for hit in expected}
    if mode == "maxsim":
        tolerance = 1e-3 if exact_tokens else 0.3
        assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=tolerance)
    assert index.search(query, mode=mode, filter={"n": -1}) == []


@pytest.mark.parametrize("mode", ["maxsim", "bm25", "hybrid"])
@pytest.mark.parametrize("exact_tokens", [0, 10**6])
def test_diversity_puts_repetitions_behind_other_documents(new_index, mode, exact_tokens):
    index = new_index(exact_tokens=exact_tokens)
    texts = ["amber birch cedar ember", "amber birch cedar ember", "amber fjord glade harbor", "kelp lagoon meadow"]
    index.add([Document(str(n), text) for n, text in enumerate(texts)])
    assert [hit.id for hit in index.search("amber birch", k=2, mode=mode)] == ["0", "1"]
    varied = index.search("amber birch", k=2, mode=mode, config=SearchConfig(diversity=0.7))
    assert next(hit.id for hit in varied) == "0"
    assert [hit.id for hit in varied][1] != "1"
    assert {hit.score for hit in varied} <= {h.score for h in index.search("amber birch", k=4, mode=mode)}


def test_diversity_chooses_among_the_first_fetch_k(new_index):
    index = new_index()
    index.add([Document(str(n), "amber birch") for n in range(5)] + [Document("z", "amber kelp")])
    narrow = index.search("amber birch", k=2, config=SearchConfig(diversity=0.9, fetch_k=2))
    wide = index.search("amber birch", k=2, config=SearchConfig(diversity=0.9, fetch_k=6))
    assert [hit.id for hit in narrow] == ["0", "1"]
    assert [hit.id for hit in wide] == ["0", "z"]


def test_many_queries_get_what_each_gets_alone(new_index, documents):
    index = new_index(exact_tokens=0)
    index.add(documents)
    queries = [d.text.split(".")[0] for d in documents[:40]]
    for mode in ("maxsim", "bm25", "hybrid"):
        together = index.search_many(queries, k=5, mode=mode, filter={"even": True})
        assert together == [index.search(query, k=5, mode=mode, filter={"even": True}) for query in queries]


def test_vectors_are_searched_with_a_filter_too(index, encoder):
    [query] = encoder.encode_queries([QUERY])
    [hits] = index.search_vectors([query], filter={"kind": ["words", "neither"]})
    assert {hit.id for hit in hits} == {"words", "neither"}
    assert np.isclose(hits[0].score, scores(index, "maxsim")[hits[0].id])


def test_a_document_with_a_word_of_the_query_stands_above_one_without_where_words_decide(index):
    hits = index.search(QUERY, k=10, mode="hybrid", config=SearchConfig(fusion="weighted", maxsim_weight=0))
    assert {hit.id for hit in hits if hit.score > 0} == set(scores(index, "bm25"))


@pytest.mark.parametrize(("fusion", "share"), [("weighted", 0.7), ("rrf", 0.5)])
def test_each_fusion_has_a_share_of_its_own_where_none_is_given(index, fusion, share):
    given = scores(index, "hybrid", config=SearchConfig(fusion=fusion, maxsim_weight=share))
    assert scores(index, "hybrid", config=SearchConfig(fusion=fusion)) == given
    assert SearchConfig().fusion == "weighted"


class TestLocality:
    """Documents whose matches stand together, against longer ones that have them scattered, or slightly more."""

    QUERY = "amber birch cedar"
    FILLER = "kelp lagoon meadow nectar orchid prairie quartz river spruce thistle"

    @pytest.fixture(params=[10**9, 1], ids=["exact", "compressed"])
    def index(self, new_index, request):
        fill = f"{self.FILLER} " * 40
        index = new_index(exact_tokens=request.param)
        scattered = f"amber {fill} birch {fill} cedar"
        together = f"{fill} amber birch umber {fill} {fill}"
        index.add([Document("scattered", scattered), Document("together", together), Document("short", "amber")])
        return index

    def found(self, index, mode="maxsim", **options):
        return {h.id: h.score for h in index.search(self.QUERY, k=3, mode=mode, config=SearchConfig(**options))}

    def test_without_it_the_document_with_more_matches_anywhere_is_first(self, index):
        assert next(iter(self.found(index))) == "scattered"

    def test_with_it_the_one_with_its_matches_at_one_place_is_first(self, index):
        assert next(iter(self.found(index, locality=0.9))) == "together"

    def test_a_score_is_the_mix_of_the_whole_document_and_of_its_best_place(self, index):
        whole, mixed = self.found(index, exact=True), self.found(index, exact=True, locality=0.5)
        # one of the three words at a time stands within 256 tokens of "scattered"
        place = self.found(index, exact=True, locality=1.0)
        assert place["scattered"] < whole["scattered"] - 0.5
        for name in whole:
            assert mixed[name] == pytest.approx((whole[name] + place[name]) / 2, abs=2e-3)

    def test_a_document_within_the_window_keeps_its_score(self, index):
        assert self.found(index, locality=1.0)["short"] == pytest.approx(self.found(index)["short"], abs=1e-6)

    @pytest.mark.parametrize("fusion", ["weighted", "rrf"])
    def test_hybrid_ranks_by_it_too(self, index, fusion):
        options = {"fusion": fusion, "maxsim_weight": 1.0}
        assert next(iter(self.found(index, "hybrid", **options))) == "scattered"
        assert next(iter(self.found(index, "hybrid", **options, locality=0.9))) == "together"

    def test_words_alone_are_ranked_as_ever(self, index):
        assert self.found(index, "bm25", locality=1.0) == self.found(index, "bm25")

    def test_k_beyond_fetch_k_gives_every_document(self, index):
        for mode in ("maxsim", "hybrid"):
            assert len(self.found(index, mode, locality=0.5, fetch_k=1)) == 3
            assert len(index.search(self.QUERY, k=1, mode=mode, config=SearchConfig(locality=0.5))) == 1
