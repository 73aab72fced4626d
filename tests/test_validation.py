from __future__ import annotations

import re
from collections import OrderedDict
from types import MappingProxyType

import numpy as np
import pytest

from colbert_rag import validation
from colbert_rag.errors import DuplicateIdError, InvalidDocumentError, InvalidQueryError, InvalidVectorsError
from colbert_rag.types import Document, SearchConfig, TokenVectors


def nested(depth):
    value = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


UNITS = np.eye(3, 4, dtype=np.float32)
SPANS = np.array([[0, 1], [1, 1], [2, 4]], np.int32)
DOCUMENT = Document("a", "text")


class TestDocuments:
    @pytest.mark.parametrize(
        "document",
        [
            Document("a", "text"),
            Document("é" * 256, "\0 NUL is text"),
            Document("a b/c?d#", "x" * 100_000, {"list": [1, 2.5, None, True, "é", {"deep": []}]}),
            Document("a", "text", nested(32)),
            Document("a", "text", OrderedDict(b=1)),
            Document("a", "text", MappingProxyType({"b": {"c": 1}})),
            Document("a", "text", {"large": 2**4_000}),
        ],
    )
    def test_usable_documents_are_taken(self, document):
        validation.check_documents([document])

    @pytest.mark.parametrize(
        ("document", "words"),
        [
            ("text", "document number 0: expected a colbert_rag.Document, found str"),
            (None, "found NoneType"),
            (Document(7, "text"), "document 7: the id must be a str, found int"),
            (Document(["a"], "text"), "the id must be a str, found list"),
            (Document("", "text"), "document '': the id is empty"),
            (Document("é" * 257, "text"), "the id has 514 bytes of UTF-8, at most 512 are allowed"),
            (Document("a\nb", "text"), r"document 'a\nb': the id has control characters"),
            (Document("a\0b", "text"), "control characters"),
            (Document("a\x85b", "text"), "control characters"),
            (Document("a\ud800", "text"), "the id has a lone surrogate at character 1"),
            (Document("a", None), "document 'a': the text must be a str, found NoneType"),
            (Document("a", b"text"), "the text must be a str, found bytes"),
            (Document("a", ""), "document 'a': the text is blank"),
            (Document("a", " \n\t\u3000"), "the text is blank"),
            (Document("a", "ab\udfff"), "the text has a lone surrogate at character 2"),
            (Document("a", "text", None), "metadata must be a dict, found NoneType"),
            (Document("a", "text", [1]), "metadata must be a dict, found list"),
            (Document("a", "text", {1: 2}), "metadata has a key of type int, JSON keys are str"),
            (Document("a", "text", {"b": {None: 2}}), "metadata['b'] has a key of type NoneType"),
            (Document("a", "text", {"b": float("nan")}), "metadata['b'] is nan, which JSON cannot hold"),
            (Document("a", "text", {"b": [0, -np.inf]}), "metadata['b'][1] is -inf"),
            (Document("a", "text", {"b": (1, 2)}), "metadata['b'] is a tuple, which JSON cannot hold"),
            (Document("a", "text", {"b": {1}}), "is a set"),
            (Document("a", "text", {"b": np.int64(1)}), "is a int64"),
            (Document("a", "text", {"b": b"c"}), "is a bytes"),
            (Document("a", "text", {"b": "c\ud800"}), "metadata['b'] has a lone surrogate at character 1"),
            (Document("a", "text", {"\ud800": 1}), "a key of metadata has a lone surrogate"),
            (Document("a", "text", {"b": 2**5_000}), "metadata['b'] is an int of 5,001 bits, at most 4,096"),
            (Document("a", "text", nested(33)), "is nested deeper than 32 levels"),
            (
                Document("a", "text", {"b": "x" * (1 << 20)}),
                "metadata takes 1,048,584 bytes as JSON, at most 1,048,576",
            ),
        ],
    )
    def test_unusable_documents_are_refused_with_their_name_and_what_was_found(self, document, words):
        with pytest.raises(InvalidDocumentError, match=re.escape(words)) as caught:
            validation.check_documents([document])
        assert str(caught.value).endswith("Nothing was written.")

    def test_a_text_above_64_mib_is_refused(self, monkeypatch):
        assert validation._TEXT_BYTES == 64 << 20
        monkeypatch.setattr(validation, "_TEXT_BYTES", 10)
        validation.check_documents([Document("a", "x" * 10)])
        for text in ("x" * 11, "é" * 6):
            with pytest.raises(
                InvalidDocumentError, match=r"the text has 1[12] bytes of UTF-8, at most 10 are allowed"
            ):
                validation.check_documents([Document("a", text)])

    def test_metadata_that_contains_itself_is_refused(self):
        metadata = {}
        metadata["self"] = metadata
        with pytest.raises(InvalidDocumentError, match="nested deeper than 32 levels"):
            validation.check_documents([Document("a", "text", metadata)])

    def test_five_offending_documents_are_named_and_the_others_counted(self):
        documents = [Document("good", "text"), *(Document(f"bad{n}", "") for n in range(8))]
        with pytest.raises(InvalidDocumentError) as caught:
            validation.check_documents(documents)
        message = str(caught.value)
        assert [name for name in (f"bad{n}" for n in range(8)) if name in message] == [f"bad{n}" for n in range(5)]
        assert "(and 3 more)" in message
        assert "good" not in message

    def test_an_id_that_occurs_twice_is_named_once(self):
        documents = [Document(i, "text") for i in ("a", "b", "a", "a", "c")]
        with pytest.raises(DuplicateIdError, match=r"^id 'a' occurs twice in this batch\. Nothing was written\.$"):
            validation.check_documents(documents)

    def test_ids_are_compared_byte_for_byte(self):
        validation.check_documents([Document(i, "text") for i in ("a", "A", " a", "é", "e\u0301")])

    def test_surrogates_come_with_a_cure_that_works(self):
        text = "broken \ud835 text"
        with pytest.raises(InvalidDocumentError, match=re.escape("text.encode('utf-8', 'replace').decode()")):
            validation.check_documents([Document("a", text)])
        validation.check_documents([Document("a", text.encode("utf-8", "replace").decode())])


class TestIds:
    def test_any_iterable_of_ids_is_taken(self):
        assert validation.check_ids(i for i in ("a", "b")) == ["a", "b"]
        assert validation.check_ids({"a": 1}) == ["a"]
        assert validation.check_ids([]) == []

    @pytest.mark.parametrize(
        ("ids", "words"),
        [
            ("a", "ids must be a list of str, found str. For one document pass ['a']."),
            (7, "found int"),
            (None, "found NoneType"),
            (["a", 7], "id number 1: the id must be a str, found int"),
            ([""], "id number 0: the id is empty"),
            (["a\n"], "control characters"),
        ],
    )
    def test_everything_else_is_refused(self, ids, words):
        with pytest.raises(InvalidDocumentError, match=re.escape(words)):
            validation.check_ids(ids)


class TestTokenVectors:
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_unit_vectors_are_taken(self, dtype):
        validation.check_token_vectors(DOCUMENT, TokenVectors(UNITS.astype(dtype), SPANS), 4)
        validation.check_token_vectors(DOCUMENT, TokenVectors(UNITS.astype(dtype) * 1.015, SPANS.astype(np.int64)), 4)

    @pytest.mark.parametrize(
        ("vectors", "words"),
        [
            (UNITS[:, :3], "vectors must have the shape (T, 4) with T >= 1, found (3, 3)"),
            (UNITS[0], "found (4,)"),
            (UNITS[None], "found (1, 3, 4)"),
            (UNITS[:0], "found (0, 4)"),
            (UNITS.astype(np.int32), "vectors must be float16 or float32, found int32"),
            (UNITS.astype(np.complex64), "found complex64"),
            (UNITS.astype(object), "found object"),
            (UNITS.astype(">f4"), "found >f4"),
            (np.where(UNITS == 1, np.nan, UNITS), "vector 0 is not finite"),
            (np.concatenate([UNITS[:2], [[np.inf, 0, 0, 0]]]), "vector 2 is not finite"),
            (UNITS * np.array([[1], [0], [1]]), "vector 1 has length 0.0000, vectors must have unit length"),
            (UNITS * np.array([[1], [1], [3]]), "vector 2 has length 3.0000"),
            (UNITS * 1.03, "unit length; normalise them"),
        ],
    )
    def test_unusable_vectors_are_refused_with_the_document(self, vectors, words):
        with pytest.raises(InvalidVectorsError, match=f"^document 'a': .*{re.escape(words)}"):
            validation.check_token_vectors(DOCUMENT, TokenVectors(vectors, SPANS), 4)

    @pytest.mark.parametrize(
        ("spans", "words"),
        [
            (SPANS[:2], "spans must be integers of shape (3, 2), found int32 (2, 2)"),
            (SPANS.astype(np.float32), "found float32 (3, 2)"),
            (SPANS.ravel(), "found int32 (6,)"),
            (SPANS[:, ::-1], "0 <= start <= end <= 4, the length of the text"),
            (SPANS - 1, "0 <= start <= end"),
            (SPANS + 1, "end <= 4"),
        ],
    )
    def test_unusable_spans_are_refused_with_the_document(self, spans, words):
        with pytest.raises(InvalidVectorsError, match=f"^document 'a': .*{re.escape(words)}"):
            validation.check_token_vectors(DOCUMENT, TokenVectors(UNITS, spans), 4)

    @pytest.mark.parametrize("tokens", [None, UNITS, (UNITS, SPANS)])
    def test_anything_but_token_vectors_is_refused(self, tokens):
        with pytest.raises(InvalidVectorsError, match=r"document 'a': expected colbert_rag\.TokenVectors, found"):
            validation.check_token_vectors(DOCUMENT, tokens, 4)


class TestQueries:
    @pytest.mark.parametrize(
        ("query", "words"),
        [
            (None, "query number 1: it must be a str, found NoneType"),
            (b"a", "found bytes"),
            ("", "query number 1: it is blank"),
            (" \n", "it is blank"),
            ("a\ud800", "it has a lone surrogate at character 1"),
            ("é" * (1 << 19) + "x", "it has 1,048,577 bytes of UTF-8, at most 1,048,576 are allowed"),
        ],
    )
    def test_unusable_queries_are_refused_with_their_number(self, query, words):
        with pytest.raises(InvalidQueryError, match=re.escape(words)) as caught:
            validation.check_queries(["good", query])
        assert str(caught.value).endswith("Nothing was searched.")

    def test_usable_queries_are_taken(self):
        validation.check_queries(["a", "?", "NUL \0", "x" * (1 << 20)])
        validation.check_queries([])

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_query_vectors_become_contiguous_float32(self, dtype):
        found = validation.check_query_vectors(np.asfortranarray(UNITS.astype(dtype)), 4)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, UNITS)

    @pytest.mark.parametrize(
        ("vectors", "words"),
        [
            (UNITS[:, :3], "query: vectors must have the shape (Q, 4) with Q >= 1, found (3, 3)."),
            (UNITS[0], "found (4,)"),
            (UNITS[:0], "found (0, 4)"),
            ("query", "found ()"),
            (UNITS.astype(int), "must be float16 or float32, found int64"),
            (UNITS * np.nan, "vector 0 is not finite"),
            (UNITS * 2, "vector 0 has length 2.0000"),
        ],
    )
    def test_unusable_query_vectors_are_refused(self, vectors, words):
        with pytest.raises(InvalidQueryError, match=re.escape(words)):
            validation.check_query_vectors(vectors, 4)

    @pytest.mark.parametrize("k", [1, 100_000, np.int64(5)])
    def test_usable_k_is_an_int(self, k):
        assert type(validation.check_k(k)) is int
        assert validation.check_k(k) == k

    @pytest.mark.parametrize("k", [0, -1, 100_001, 1.0, "5", None, True, np.float32(3)])
    def test_unusable_k_is_refused(self, k):
        with pytest.raises(InvalidQueryError, match=re.escape(f"k must be an int from 1 to 100,000, found {k!r}.")):
            validation.check_k(k)


class TestOptions:
    def test_a_usable_config_comes_back(self):
        for config in (SearchConfig(), SearchConfig(1, 1, True, 0), SearchConfig(1_000_000, 65_536, False, 100)):
            assert validation.check_search_config(config) is config

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("n_candidates", 0, "must be an int from 1 to 1,000,000, found 0"),
            ("n_candidates", 1_000_001, "found 1000001"),
            ("n_candidates", 2.0, "found 2.0"),
            ("n_candidates", True, "found True"),
            ("n_probe", 0, "must be an int from 1 to 65,536, found 0"),
            ("n_probe", None, "found None"),
            ("passages", -1, "must be an int from 0 to 100, found -1"),
            ("passages", 101, "found 101"),
        ],
    )
    def test_a_number_out_of_range_is_refused_with_its_name(self, name, value, words):
        with pytest.raises(
            InvalidQueryError, match=f"^SearchConfig.{name} {'must be' if 'must' in words else ''}"
        ) as e:
            validation.check_search_config(SearchConfig(**{name: value}))
        assert words in str(e.value)

    @pytest.mark.parametrize("config", [None, {"n_probe": 2}, SearchConfig])
    def test_another_object_than_a_config_is_refused(self, config):
        with pytest.raises(InvalidQueryError, match=r"config must be a colbert_rag\.SearchConfig, found"):
            validation.check_search_config(config)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((object(), 4, 4), "takes an encoder or dim, not both"),
            ((None, 4, 3), "bits must be 1, 2, 4 or 8, found 3"),
            ((None, 4, "4"), "found '4'"),
            ((None, 0, 4), "dim must be an int from 1 to 1,024, found 0"),
            ((None, 1_025, 4), "found 1025"),
            ((None, 4.0, 4), "found 4.0"),
            ((None, True, 4), "found True"),
            ((None, 4, 4, -1, 0), "exact_tokens and probe_tokens must be ints of at least 0, found (-1, 0)"),
            ((None, 4, 4, 0, 1.5), "found (0, 1.5)"),
        ],
    )
    def test_unusable_options_of_a_new_index_are_refused(self, arguments, words):
        with pytest.raises(InvalidQueryError, match=re.escape(words)):
            validation.check_create_options(*arguments)

    @pytest.mark.parametrize("bits", [1, 2, 4, 8])
    def test_usable_options_of_a_new_index_are_taken(self, bits):
        validation.check_create_options(None, 1_024, bits, 0, 2**48)
        validation.check_create_options(object(), None, bits, 0, 0)


def test_metadata_is_stored_compact_and_readable():
    assert validation.metadata_json({"b": "é", "a": [1, None]}) == '{"b":"é","a":[1,null]}'
    assert validation.metadata_json(MappingProxyType({"a": MappingProxyType({"b": 1})})) == '{"a":{"b":1}}'
