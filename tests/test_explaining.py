"""Explanations against MaxSim computed from the encoder's own vectors."""

from __future__ import annotations

import numpy as np
import pytest

from colbert_rag import Document, InvalidFilterError, InvalidQueryError, ModelMismatchError, SearchConfig, TokenLabel
from colbert_rag.testing import HashEncoder

QUERY = "amber birch nowhere"
MODES = ["maxsim", "bm25", "hybrid"]


class LabellingEncoder(HashEncoder):
    """Counts the documents it encodes; its queries end in a token that stands for no text."""

    n_encoded = 0

    def encode_documents(self, texts, *, progress=None):
        self.n_encoded += len(texts)
        return super().encode_documents(texts, progress=progress)

    def encode_queries(self, texts):
        return super().encode_queries([f"{text} end" for text in texts])

    def query_tokens(self, text):
        labels, start = [], 0
        for word in text.split():
            start = text.index(word, start)
            labels.append(TokenLabel(word, start, start + len(word)))
        return [*labels, TokenLabel("[END]")]


@pytest.fixture
def labelling():
    return LabellingEncoder()


@pytest.fixture
def index(tmp_path, labelling, documents):
    from colbert_rag import Index

    with Index.create(tmp_path / "labelled", labelling) as index:
        index.add(documents)
        yield index


def reference(encoder, query, text):
    """Similarity, and the first token of the document that has it, for each query vector."""
    [asked] = encoder.encode_queries([query])
    [tokens] = encoder.encode_documents([text])
    table = asked @ tokens.vectors.astype(np.float32).T
    return table.max(axis=1), [tuple(span) for span in tokens.spans[table.round(3).argmax(axis=1)].tolist()]


def test_each_query_token_has_its_best_token_of_the_document(index, labelling):
    query = "ember n7 quartz"
    for explanation in index.explain(query, k=5):
        similarities, spans = reference(labelling, query, explanation.hit.text)
        assert [t.similarity for t in explanation.query_tokens] == pytest.approx(similarities.tolist(), abs=1e-3)
        assert [(t.match.start, t.match.end) for t in explanation.query_tokens] == spans
        for token in explanation.query_tokens:
            assert token.match.text == explanation.hit.text[token.match.start : token.match.end]
        assert [t.label for t in explanation.query_tokens] == labelling.query_tokens(query)


@pytest.mark.parametrize("mode", MODES)
def test_hits_are_those_of_a_search_in_the_same_order(index, mode):
    options = {"k": 4, "mode": mode, "filter": {"even": True}, "config": SearchConfig(passages=2)}
    assert [e.hit for e in index.explain(QUERY, **options)] == index.search(QUERY, **options)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("exact_tokens", [0, 10**6])
def test_similarities_add_up_to_the_score(new_index, documents, exact_tokens, exact):
    index = new_index(exact_tokens=exact_tokens)
    index.add(documents)
    assert index.info().is_compressed == (exact_tokens == 0)
    config = SearchConfig(exact=exact, n_candidates=20)
    for document in documents[::20]:
        found = index.explain(document.text, config=config)
        assert [e.hit.id for e in found] == [hit.id for hit in index.search(document.text, k=3, config=config)]
        for explanation in found:
            total = sum(token.similarity for token in explanation.query_tokens)
            assert total == pytest.approx(explanation.hit.score, abs=1e-3)


@pytest.mark.parametrize("exact_tokens", [0, 10**6])
def test_deleted_and_replaced_documents_are_explained_as_they_are_now(new_index, documents, exact_tokens):
    index = new_index(exact_tokens=exact_tokens)
    index.add(documents)
    index.delete(["d001"])
    index.upsert([Document("d000", "nothing of it. amber")])
    index.compact()
    [explanation] = index.explain("amber", ["d000"])
    assert [token.match.text for token in explanation.query_tokens] == ["amber"]
    with pytest.raises(InvalidQueryError, match="'d001' cannot be explained: no document of the index has that id"):
        index.explain("amber", ["d000", "d001"])


def test_documents_of_given_ids_are_explained_by_falling_score(index):
    found = index.explain(query := "spruce thistle", ["d007", "d150", "d007"], k=1)
    assert {e.hit.id for e in found} == {"d007", "d150"}
    everything = {hit.id: hit.score for hit in index.search(query, k=200)}
    assert [e.hit.score for e in found] == sorted((everything["d007"], everything["d150"]), reverse=True)
    assert index.explain("amber", []) == []


def test_a_document_without_a_word_of_the_query_is_not_explained_as_found_by_words(index):
    with pytest.raises(
        InvalidQueryError, match="'d000' cannot be explained: no document of the index holds a word of the query"
    ):
        index.explain("zebra", ["d000"], mode="bm25")
    assert index.explain("zebra", mode="bm25") == []


def test_many_missing_ids_are_counted(index):
    with pytest.raises(InvalidQueryError, match="'x0', 'x1', 'x2' and 7 more cannot be explained"):
        index.explain("amber", [f"x{n}" for n in range(10)])


def test_ids_and_a_filter_are_refused_together(index):
    with pytest.raises(InvalidQueryError, match="ids or a filter, not both"):
        index.explain("amber", ["d000"], filter={"even": True})


@pytest.mark.parametrize("ids", [["d007"], ["d007", "d150"], []])
def test_ids_are_refused_in_mode_hybrid_whose_scores_hold_only_among_all_ranked(index, ids):
    with pytest.raises(InvalidQueryError, match=r'no ids in mode "hybrid".*Use mode "maxsim" or "bm25"'):
        index.explain("amber", ids, mode="hybrid")


@pytest.mark.parametrize("mode", ["maxsim", "bm25"])
def test_the_score_of_a_named_document_is_the_one_it_has_among_all(index, mode):
    everything = {hit.id: hit.score for hit in index.search("amber birch", k=200, mode=mode)}
    for document_id in list(everything)[::40]:
        [explanation] = index.explain("amber birch", [document_id], mode=mode)
        assert explanation.hit.score == pytest.approx(everything[document_id], abs=1e-5)


def test_with_locality_the_score_is_the_searchs_and_similarities_add_up_to_the_whole_maxsim(new_index):
    filler = " filler" * 600
    index = new_index()
    index.add([Document("scattered", f"amber{filler} birch"), Document("near", f"birch amber{filler} cedar")])
    local = SearchConfig(locality=1.0)
    found = index.explain("amber birch", k=2, config=local)
    assert [e.hit for e in found] == index.search("amber birch", k=2, config=local)
    assert [e.hit.id for e in found] == ["near", "scattered"]
    whole = {hit.id: hit.score for hit in index.search("amber birch", k=2)}
    for explanation in found:
        total = sum(token.similarity for token in explanation.query_tokens)
        assert total == pytest.approx(whole[explanation.hit.id], abs=1e-3)
    assert found[1].hit.score < whole["scattered"] - 0.5


def test_explaining_encodes_no_document(index, labelling):
    before = labelling.n_encoded
    assert len(index.explain(QUERY)) == 3
    assert labelling.n_encoded == before


def test_an_encoder_without_labels_gives_empty_ones(new_index):
    index = new_index()
    index.add([Document("a", "amber birch")])
    [explanation] = index.explain("birch amber")
    assert [token.label for token in explanation.query_tokens] == [TokenLabel(""), TokenLabel("")]
    assert [token.match.text for token in explanation.query_tokens] == ["birch", "amber"]


def test_tokens_of_a_heading_and_of_no_text_match_with_an_empty_span(new_index):
    index = new_index()
    index.add([Document("a", "cedar delta", heading="amber birch"), Document("b", "...")])
    by_id = {e.hit.id: e.query_tokens for e in index.explain("birch delta")}
    assert [token.match.text for token in by_id["a"]] == ["", "delta"]
    assert by_id["a"][0].similarity == pytest.approx(1, abs=1e-3)
    assert [(token.match.start, token.match.end) for token in by_id["b"]] == [(0, 0), (0, 0)]


def test_labels_that_do_not_fit_the_vectors_are_refused(index, labelling, monkeypatch):
    monkeypatch.setattr(labelling, "query_tokens", lambda text: [TokenLabel(text)])
    with pytest.raises(InvalidQueryError, match="gave 1 labels for the 4 vectors"):
        index.explain(QUERY)


def test_what_a_search_refuses_is_refused(index, new_index):
    for query, options in (("  ", {}), ("amber", {"k": 0}), ("amber", {"mode": "dense"})):
        with pytest.raises(InvalidQueryError):
            index.explain(query, **options)
    with pytest.raises(InvalidFilterError):
        index.explain("amber", filter={"even": {"$above": 3}})
    with pytest.raises(ModelMismatchError):
        new_index("vectors", dim=8).explain("amber")


def test_a_document_of_fifty_thousand_tokens_is_explained(new_index):
    words = [f"w{n}" for n in range(50_000)]
    words[43_210] = "needle"
    index = new_index(exact_tokens=0)
    index.add([Document("long", " ".join(words)), Document("short", "amber birch")])
    explanation = index.explain("needle")[0]
    assert explanation.hit.id == "long"
    assert explanation.query_tokens[0].match.text == "needle"
