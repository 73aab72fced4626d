"""Reranking against a plain computation of MaxSim."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from colbert_rag import (
    Document,
    InvalidDocumentError,
    InvalidQueryError,
    InvalidVectorsError,
    ModelMismatchError,
    Reranker,
)
from colbert_rag.rerank import EncodedTexts
from colbert_rag.testing import HashEncoder

TEXTS = ["cats sleep", "the notice period is long", "dogs run. notice the cat", "period"]


@pytest.fixture
def reranker(encoder: HashEncoder) -> Reranker:
    return Reranker(encoder)


def test_scores_equal_plain_maxsim(reranker: Reranker, encoder: HashEncoder):
    (query,) = encoder.encode_queries(["notice period"])
    for ranked in reranker.rerank("notice period", TEXTS):
        (tokens,) = encoder.encode_documents([ranked.text])
        expected = (query @ tokens.vectors.astype(np.float32).T).max(axis=1).sum()
        assert ranked.score == pytest.approx(float(expected), abs=1e-4)
        assert TEXTS[ranked.position] == ranked.text
        assert ranked.relevance == pytest.approx(min(1, ranked.score / 2))


def test_order_falls_and_ties_keep_the_input_order(reranker: Reranker):
    ranked = reranker.rerank("notice period", [*TEXTS, TEXTS[1]])
    assert [r.position for r in ranked[:2]] == [1, 4]
    assert [r.score for r in ranked] == sorted((r.score for r in ranked), reverse=True)


def test_k_cuts_and_no_texts_give_nothing(reranker: Reranker):
    assert len(reranker.rerank("notice", TEXTS, k=2)) == 2
    assert len(reranker.rerank("notice", TEXTS, k=99)) == 4
    assert reranker.rerank("notice", []) == []


def test_encoded_texts_are_reused(reranker: Reranker):
    encoded = reranker.encode(TEXTS)
    assert reranker.rerank("notice", encoded) == reranker.rerank("notice", TEXTS)


def test_passage_shows_the_evidence(reranker: Reranker):
    (best,) = reranker.rerank("notice cat", TEXTS, k=1)
    assert best.passages[0].text == "notice the cat"
    assert reranker.rerank("notice", TEXTS, k=1, passages=0)[0].passages == ()


def test_bad_input_is_refused(reranker: Reranker):
    with pytest.raises(InvalidQueryError):
        reranker.rerank(" ", TEXTS)
    with pytest.raises(InvalidQueryError):
        reranker.rerank("x", TEXTS, k=0)
    with pytest.raises(InvalidDocumentError, match="wrap one text in a list"):
        reranker.rerank("x", "one text")
    with pytest.raises(ModelMismatchError, match="encoder must be"):
        Reranker(object())  # type: ignore[arg-type]


def test_a_text_that_is_refused_is_named_by_its_place_and_no_writing_is_spoken_of(reranker: Reranker):
    for call in (lambda texts: reranker.rerank("x", texts), reranker.encode):
        with pytest.raises(InvalidDocumentError, match=r"^text number 1: the text is blank\. Nothing was ranked\.$"):
            call(["fine", " "])
        with pytest.raises(InvalidDocumentError, match=r"^text number 0: the heading must be a str, found int\."):
            call([Document("mine", "fine", heading=3)])


@pytest.mark.parametrize("option", ["passages", "passage_sentences"])
@pytest.mark.parametrize("value", [-1, "3", 1.5, None, True, 1_000_000])
def test_numbers_of_passages_and_sentences_that_a_search_refuses_are_refused(reranker: Reranker, option, value):
    with pytest.raises(InvalidQueryError, match=f"{option} must be an int from"):
        reranker.rerank("x", TEXTS, **{option: value})


def test_a_passage_of_no_sentence_is_refused(reranker: Reranker):
    with pytest.raises(InvalidQueryError, match="passage_sentences must be an int from 1"):
        reranker.rerank("x", [], passage_sentences=0)


def test_documents_are_ranked_by_heading_and_text_and_their_passages_are_of_the_text(encoder):
    documents = [
        Document("x", "Three months. Nothing else."),
        Document("x", "Three months. Nothing else.", heading="Notice period"),
    ]
    ranked = Reranker(encoder).rerank("notice period months", documents)
    assert [r.position for r in ranked] == [1, 0]
    assert all(r.text == documents[0].text and r.passages[0].text == "Three months." for r in ranked)
    [plain] = Reranker(encoder).rerank("notice period months", ["Notice period\n\nThree months. Nothing else."])
    assert ranked[0].score == plain.score


class TestEncodedTexts:
    def test_vectors_lie_in_one_array_and_go_once_to_another_process(self, reranker):
        encoded = reranker.encode(TEXTS)
        base = encoded.tokens[0].vectors.base
        assert all(tokens.vectors.base is base for tokens in encoded.tokens)
        sent = pickle.dumps(encoded)
        assert len(sent) < 1.5 * base.nbytes + 4_000
        again = pickle.loads(sent)
        assert reranker.rerank("notice", again) == reranker.rerank("notice", encoded)
        assert again.tokens[0].vectors.base is again.tokens[-1].vectors.base

    def test_texts_and_vectors_that_do_not_fit_are_refused(self, reranker, encoder):
        encoded = reranker.encode(TEXTS)
        with pytest.raises(InvalidVectorsError, match=r"Nothing was ranked\.$"):
            EncodedTexts(encoded.texts, encoded.tokens[:2])
        other = Reranker(HashEncoder(encoder.dim * 2))
        with pytest.raises(InvalidVectorsError, match="Encode both with one model"):
            other.rerank("notice", encoded)

    def test_an_encoder_that_gives_too_few_vectors_is_refused(self, encoder, monkeypatch):
        real = encoder.encode_documents
        monkeypatch.setattr(encoder, "encode_documents", lambda texts, **options: real(texts, **options)[:-1])
        with pytest.raises(InvalidVectorsError, match=r"gave 3 results for 4 texts\. Nothing was ranked\.$"):
            Reranker(encoder).rerank("notice", TEXTS)
