"""Queries without torch against the same model in sentence-transformers."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from colbert_rag.encoder.builtin import REVISIONS, load_builtin
from colbert_rag.encoder.fingerprint import describe
from colbert_rag.encoder.minilm.queries import QueryModel
from colbert_rag.encoder.query_tokens import query_labels
from colbert_rag.encoder.token_model import TokenModel
from colbert_rag.errors import ModelUnsupportedError

TEXTS = [
    "Where does the cat sleep?",
    "a",
    "?!",
    "",
    "  blanks \t around\n",
    "MixedCase-hyphen_under.score, naïve ÉTÉ",
    "日本語 and e\u0301te\u0300, שלום 🙂 👩‍👩‍👧 \u200b.",
    "antidisestablishmentarianism " * 3,
    "a [MASK] b [SEP] c [CLS] d [UNK] e",
    " ".join(["word"] * 510),
]


@pytest.fixture(scope="module")
def light():
    return QueryModel()


@pytest.fixture(scope="module")
def heavy():
    return TokenModel(load_builtin("cpu"))


def test_tokens_and_vectors_equal_those_of_sentence_transformers(light, heavy):
    ids = [tokens.ids for tokens in light.tokenise(TEXTS)]
    expected = heavy.tokenise(TEXTS, "query")
    assert [one.tolist() for one in ids] == [other.ids.tolist() for other in expected]
    for ours, theirs in zip(light.encode_ids(ids), heavy.encode_query_texts(TEXTS), strict=True):
        assert ours.dtype == np.float32
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=5e-6)


@pytest.mark.parametrize("dim", [1, 64, 128, None])
def test_leading_dimensions_are_kept_and_normalised_again(light, heavy, dim):
    few = QueryModel(dim)
    ids = [tokens.ids for tokens in light.tokenise(TEXTS[:3])]
    for ours, whole in zip(few.encode_ids(ids), heavy.encode_query_texts(TEXTS[:3]), strict=True):
        part, weights = whole[:, :dim], np.linalg.norm(whole, axis=1, keepdims=True)
        np.testing.assert_allclose(ours, weights * part / np.linalg.norm(part, axis=1, keepdims=True), atol=1e-4)
    assert few.dim == (dim or 128)


def test_more_dimensions_than_there_are_are_refused():
    with pytest.raises(ModelUnsupportedError, match="dim=129 is not possible: the model's vectors have 128"):
        QueryModel(129)


@pytest.mark.parametrize("revision", REVISIONS)
def test_it_says_of_itself_what_the_loaded_model_says(light, heavy, revision):
    other = TokenModel(load_builtin("cpu", revision=revision))
    assert QueryModel(revision=revision).describe() == describe(other)
    assert light.context == heavy.context


@pytest.mark.parametrize("text", TEXTS)
def test_labels_are_those_of_the_loaded_model(light, heavy, text):
    assert light.labels(text) == query_labels(heavy, text)


def test_a_query_has_the_same_bits_alone_in_any_batch_and_in_any_thread(light):
    ids = [tokens.ids for tokens in light.tokenise([*TEXTS, *(f"question {n} of many" for n in range(150))])]
    expected = [light.encode_ids([one])[0] for one in ids]
    found = []
    threads = [threading.Thread(target=lambda: found.append(light.encode_ids(ids))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for answers in found:
        assert all(np.array_equal(one, other) for one, other in zip(answers, expected, strict=True))


def test_no_queries_give_nothing(light):
    assert light.encode_ids([]) == []
