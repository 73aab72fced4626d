from __future__ import annotations

import pytest
import resigning

from colbert_rag.errors import CorruptIndexError
from colbert_rag.filters import parse
from colbert_rag.storage import StoredDocument
from colbert_rag.storage.rows import content_checksum
from colbert_rag.types import Document

TEXTS = {
    "notice": "The notice period is three months.",
    "holiday": "Thirty days of holiday, and the notice board.",
    "code": "call read_file(path) in C++, a naïve café",
}


@pytest.mark.parametrize(
    "text", ["plain", "NUL \0 inside", "مرحبا עברית", "👩‍👩‍👧 e\u0301", "\ufeff\u202e", "a\r\nb\t", "x" * 100_000]
)
def test_documents_come_back_as_they_were(catalog, text):
    metadata = {"year": 2024, "nested": {"a": [None, True, 0.1]}, text[:9]: text[:9]}
    document = Document(f"id {text[:9]}", text, metadata, heading=text[:5], ref_id="r", extra=[metadata])
    with catalog.writing() as writing:
        [key] = writing.take_keys(1)
        writing.add_documents([(key, document, 7)])
    with catalog.reading() as reading:
        assert reading.documents([key]) == {key: document}
        assert reading.find([document.id]) == [StoredDocument(key, document.id, 7)]
        assert reading.totals() == (1, 7, len(text.encode()) + len(text[:5].encode()))


def test_unknown_keys_and_ids_are_left_out(catalog, store):
    store({"a": "text"})
    with catalog.reading() as reading:
        assert reading.find(["b", "a", "c"]) == [StoredDocument(1, "a", 1)]
        assert reading.ids_of([1, 2, 99]) == {1: "a"}
        assert list(reading.documents([1, 99])) == [1]
        assert reading.find([]) == []


def test_more_values_than_sqlite_binds_at_once_are_looked_up(catalog, store):
    names = [f"d{n:04}" for n in range(1_201)]
    store(dict.fromkeys(names, "text"))
    with catalog.reading() as reading:
        assert len(reading.find(names)) == 1_201
        assert sorted(reading.ids_of(range(1, 1_202)).values()) == names
        assert list(reading.ids()) == names
        assert reading.count() == 1_201


def test_checksum_is_stored_with_the_content(catalog, store):
    store(TEXTS)
    with catalog.reading() as reading:
        rows = list(reading.content_rows())
    assert {i: text for _, _, i, _, _, text, *_ in rows} == TEXTS
    assert all(content_checksum(*columns) == checksum for checksum, *columns in rows)


def test_a_document_that_was_changed_is_never_returned(catalog, store, folder):
    store(TEXTS)
    resigning.tamper(folder, "UPDATE content SET text = 'other' WHERE key = 2", is_resigned=False)
    with catalog.reading() as reading:
        assert list(reading.documents([1, 3])) == [1, 3]
        with pytest.raises(CorruptIndexError, match=r"document 'holiday'.*differs from what was committed"):
            reading.documents([2])
        with pytest.raises(CorruptIndexError, match="document 'holiday'"):
            list(reading.all_documents())


class TestAttributes:
    DOCUMENTS = (
        Document("a", "x", {"year": 2020, "tags": ["red", "blue"], "who": {"name": "Ann"}}, ref_id="one"),
        Document("b", "x", {"year": 2021.0, "tags": [], "big": 2**70}, ref_id="one"),
        Document("c", "x", {}, ref_id="two"),
    )

    @pytest.fixture
    def filled(self, catalog):
        with catalog.writing() as writing:
            keys = writing.take_keys(3)
            writing.add_documents((key, d, 1) for key, d in zip(keys, self.DOCUMENTS, strict=True))
        return catalog

    @pytest.mark.parametrize(
        ("chosen", "keys"),
        [
            ({}, [1, 2, 3]),
            ({"year": 2020}, [1]),
            ({"year": {"$gte": 2021}}, [2]),
            ({"tags": "blue"}, [1]),
            ({"who.name": "Ann"}, [1]),
            ({"big": {"$gt": 2**69}}, [2]),
            ({"$ref_id": ["one"]}, [1, 2]),
            ({"$id": ["c", "b", "unknown"]}, [2, 3]),
            ({"$ref_id": None}, []),
            ({"$ref_id": ["two", None]}, [3]),
            ({"year": {"$ne": 2020}}, [2, 3]),
        ],
    )
    def test_a_condition_finds_its_documents(self, filled, chosen, keys):
        with filled.reading() as reading:
            assert reading.matching(parse(chosen)) == keys

    def test_case_is_folded_as_python_folds_it(self, catalog):
        with catalog.writing() as writing:
            writing.take_keys(1)
            writing.add_documents([(1, Document("a", "x", {"street": "HAUPTSTRASSE"}), 1)])
        with catalog.reading() as reading:
            assert reading.matching(parse({"street": {"$icontains": "straße"}})) == [1]

    def test_a_removed_document_leaves_no_attribute(self, filled):
        with filled.writing() as writing:
            assert writing.count_attributes() == 6
            writing.remove_documents(writing.find(["a", "b"]))
            assert writing.count_attributes() == 0

    def test_attributes_are_compared_by_value_and_type(self, filled):
        with filled.reading() as reading:
            assert reading.has_attributes(1, [("year", 2020), ("tags", "red")])
            assert not reading.has_attributes(1, [("year", 2020.0)])
            assert not reading.has_attributes(1, [("year", 2019)])
            assert not reading.has_attributes(2, [("year", 2020)])
