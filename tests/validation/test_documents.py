from __future__ import annotations

import re
from collections import OrderedDict
from types import MappingProxyType

import numpy as np
import pytest

from colbert_rag import validation
from colbert_rag.errors import DuplicateIdError, InvalidDocumentError
from colbert_rag.types import Document
from colbert_rag.validation import documents


def nested(depth):
    value = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


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

    def test_extra_above_64_mib_is_refused(self, monkeypatch):
        assert documents._EXTRA_BYTES == 64 << 20
        monkeypatch.setattr(documents, "_EXTRA_BYTES", 10)
        validation.check_documents([Document("a", "text", extra={"b": 1234})])
        with pytest.raises(InvalidDocumentError, match="extra takes 11 bytes as JSON, at most 10"):
            validation.check_documents([Document("a", "text", extra={"b": 12345})])

    def test_a_text_above_64_mib_is_refused(self, monkeypatch):
        assert documents._TEXT_BYTES == 64 << 20
        monkeypatch.setattr(documents, "_TEXT_BYTES", 10)
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
        batch = [Document("good", "text"), *(Document(f"bad{n}", "") for n in range(8))]
        with pytest.raises(InvalidDocumentError) as caught:
            validation.check_documents(batch)
        message = str(caught.value)
        assert [name for name in (f"bad{n}" for n in range(8)) if name in message] == [f"bad{n}" for n in range(5)]
        assert "(and 3 more)" in message
        assert "good" not in message

    def test_an_id_that_occurs_twice_is_named_once(self):
        batch = [Document(i, "text") for i in ("a", "b", "a", "a", "c")]
        with pytest.raises(DuplicateIdError, match=r"^id 'a' occurs twice in this batch\. Nothing was written\.$"):
            validation.check_documents(batch)

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
