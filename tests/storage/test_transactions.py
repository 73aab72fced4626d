from __future__ import annotations

import sys
import unicodedata

import pytest
import resigning
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag.errors import CorruptIndexError
from colbert_rag.filters import parse
from colbert_rag.storage import Catalog, SegmentRecord, StoredDocument, create_catalog
from colbert_rag.storage.records import IndexSettings
from colbert_rag.storage.rows import content_checksum
from colbert_rag.types import Document

TEXTS = {
    "notice": "The notice period is three months.",
    "holiday": "Thirty days of holiday, and the notice board.",
    "code": "call read_file(path) in C++, a naïve café",
}


def found(catalog, query, limit=10):
    """Ids that BM25 finds, best first."""
    with catalog.reading() as reading:
        scored = reading.bm25(query, limit)
        names = reading.ids_of([key for key, _ in scored])
        return [names[key] for key, _ in scored]


def test_keys_rise_and_are_never_used_twice(catalog):
    with catalog.writing() as writing:
        assert list(writing.take_keys(3)) == [1, 2, 3]
        assert list(writing.take_keys(1)) == [4]
    with catalog.writing() as writing:
        assert list(writing.take_keys(2)) == [5, 6]


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


def test_removed_documents_leave_a_tombstone_and_nothing_else(catalog, store):
    store(TEXTS)
    with catalog.writing() as writing:
        writing.remove_documents(writing.find(["holiday", "unknown"]))
    with catalog.reading() as reading:
        assert reading.tombstones() == [2]
        assert list(reading.ids()) == ["code", "notice"]
        assert reading.totals()[0] == 2
        assert sorted(row[2] for row in reading.content_rows()) == ["code", "notice"]


def test_replacing_segments_drops_their_records_and_tombstones(catalog, store):
    store(TEXTS)
    old, other, new = (
        SegmentRecord(name=n, codec=None, n_documents=1, n_tokens=1, n_escapes=0, posting_bytes=None, files={})
        for n in ("segment-1", "segment-2", "segment-3")
    )
    with catalog.writing() as writing:
        writing.add_segment(old)
        writing.add_segment(other)
        writing.remove_documents(writing.find(["notice", "holiday"]))
        writing.replace_segments(["segment-1"], new, [1])
    with catalog.reading() as reading:
        assert catalog.state(reading).segments == (other, new)
        assert reading.tombstones() == [2]


class TestBm25:
    def test_rare_words_count_more_than_common_ones(self, catalog, store):
        store(TEXTS | {f"filler{n}": "the board of the office" for n in range(5)})
        assert found(catalog, "the notice period")[0] == "notice"
        assert found(catalog, "holiday board")[0] == "holiday"

    def test_scores_fall_and_ties_are_ordered_by_id(self, catalog, store):
        store({"b": "same words", "a": "same words", "c": "same words words words"})
        with catalog.reading() as reading:
            scores = [score for _, score in reading.bm25("words", 10)]
        assert scores == sorted(scores, reverse=True)
        assert found(catalog, "same") == ["a", "b", "c"]
        assert found(catalog, "same", limit=1) == ["a"]

    def test_case_and_accents_do_not_matter(self, catalog, store):
        store(TEXTS)
        for query in ("NOTICE period", "Notice PERIOD"):
            assert found(catalog, query)[0] == "notice"
        for query in ("cafe", "CAFÉ", "cafe\u0301", "naive"):
            assert found(catalog, query) == ["code"]

    @pytest.mark.parametrize(
        "text",
        [
            unicodedata.normalize("NFD", "한국어 문서"),
            "\u0958\u0932\u092e",
            "ᏣᎳᎩ ꮳꮃꭹ",
            "ᲡᲐᲥᲐᲠᲗᲕᲔᲚᲝ საქართველო",
            "\uf900\uf901",
            "\ufb2a\ufb2b",
            "ΣΊΣΥΦΟΣ",
        ],
    )
    def test_a_text_is_found_by_its_own_words_in_every_script(self, catalog, store, text):
        store({"a": text, "b": "another text"})
        for query in (text, *text.split()):
            assert found(catalog, query) == ["a"]

    @pytest.mark.parametrize("word", ["İstanbul", "ọ̀rọ̀", "Ẹ̀kọ́", "Tiếng", "naïve"])
    def test_letters_with_marks_that_do_not_compose_are_found(self, catalog, store, word):
        store({"a": f"The word {word} stands here.", "b": "Another one."})
        for query in (word, word.lower(), unicodedata.normalize("NFD", word)):
            assert found(catalog, query) == ["a"]

    @pytest.mark.parametrize(
        "query",
        [
            'notice "period"',
            'notice" OR "period',
            "notice AND period",
            "notice NOT period",
            "NEAR(notice period, 2)",
            "notice*",
            "^notice",
            "text:notice",
            "{text}: notice",
            "notice + period",
            "notice - period",
            "(notice",
            "notice'; DROP TABLE documents; --",
            "notice\0period",
            "notice_period",
        ],
    )
    def test_operators_and_punctuation_are_no_syntax(self, catalog, store, query):
        store(TEXTS)
        assert found(catalog, query)[0] == "notice"
        assert len(found(catalog, "notice OR months OR thirty OR call")) == 3

    def test_words_joined_by_an_underscore_are_found(self, catalog, store):
        store(TEXTS)
        assert found(catalog, "read_file") == ["code"]
        assert found(catalog, "__file__") == ["code"]

    @pytest.mark.parametrize("query", ["", "?!", "___", "\u0301", '"" - *', "🙂"])
    def test_a_query_without_words_finds_nothing(self, catalog, store, query):
        store(TEXTS)
        assert found(catalog, query) == []

    def test_no_letter_makes_a_query_that_is_refused(self, catalog, store):
        """SQLite's tables of Unicode are older than Python's: a letter may be a separator there."""
        store(TEXTS)
        letters = [f"a{chr(c)}b" for c in range(128, sys.maxunicode + 1) if chr(c).isalnum()]
        with catalog.reading() as reading:
            for start in range(0, len(letters), 256):
                reading.bm25(" ".join(letters[start : start + 256]), 1)

    def test_a_very_long_query_is_answered(self, catalog, store):
        store(TEXTS)
        assert found(catalog, "notice " + " ".join(f"word{n}" for n in range(20_000)))[0] == "notice"

    def test_deleted_documents_are_not_found(self, catalog, store):
        store(TEXTS)
        with catalog.writing() as writing:
            writing.remove_documents(writing.find(["notice"]))
        assert found(catalog, "notice") == ["holiday"]

    def test_a_replaced_document_is_found_by_its_new_words_only(self, catalog, store):
        store(TEXTS)
        with catalog.writing() as writing:
            writing.remove_documents(writing.find(["notice"]))
            [key] = writing.take_keys(1)
            writing.add_documents([(key, Document("notice", "Resignation takes effect in May."), 5)])
        assert found(catalog, "period months") == []
        assert found(catalog, "resignation") == ["notice"]

    def test_optimising_changes_no_answer(self, catalog, store):
        for name, text in TEXTS.items():
            store({name: text})
        before = found(catalog, "notice holiday café")
        with catalog.writing() as writing:
            writing.optimise()
        assert found(catalog, "notice holiday café") == before


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A catalog for many small queries."""
    folder = tmp_path_factory.mktemp("shared")
    options = IndexSettings(dim=4, bits=4, exact_tokens=0, probe_tokens=0, seed=0, model={})
    create_catalog(folder, options)
    catalog = Catalog(folder)
    yield catalog
    catalog.close()


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_a_query(shared, query):
    with shared.reading() as reading:
        assert reading.bm25(query, 3) == []


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


class TestSealing:
    """Damage is found before a write, and never signed by one."""

    def remove(self, catalog, name):
        with catalog.writing() as writing:
            writing.remove_documents(writing.find([name]))

    def test_each_commit_renews_the_checksums(self, catalog, store):
        store(TEXTS)
        self.remove(catalog, "code")
        with catalog.reading() as reading:
            assert catalog.state(reading).commits == 2
            assert reading.tombstones() == [3]

    def test_tombstones_that_were_changed_are_not_signed_by_the_next_deletion(self, catalog, store, folder):
        store(TEXTS)
        self.remove(catalog, "code")
        resigning.tamper(folder, "UPDATE tombstones SET key = 2", is_resigned=False)
        with pytest.raises(CorruptIndexError, match="the tombstones differ"):
            self.remove(catalog, "notice")
        assert found(catalog, "notice")[0] == "notice"

    def test_tombstones_that_were_changed_stay_found_after_writes_that_do_not_touch_them(self, catalog, store, folder):
        store(TEXTS)
        self.remove(catalog, "code")
        resigning.tamper(folder, "DELETE FROM tombstones", is_resigned=False)
        store({"more": "text"})
        with catalog.reading() as reading, pytest.raises(CorruptIndexError, match="the tombstones differ"):
            reading.tombstones()

    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE state SET next_key = 1",
            "UPDATE state SET segments = 1",
            "UPDATE state SET tombstones = 1",
            "INSERT INTO segments VALUES ('segment-1', '{}')",
        ],
    )
    def test_a_state_that_was_changed_is_refused(self, catalog, store, folder, sql):
        store(TEXTS)
        resigning.tamper(folder, sql, is_resigned=False)
        with catalog.reading() as reading, pytest.raises(CorruptIndexError, match="the state and the segment records"):
            catalog.state(reading)


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

    def test_words_of_a_heading_are_found(self, catalog):
        with catalog.writing() as writing:
            writing.take_keys(2)
            writing.add_documents([(1, Document("a", "text", heading="Harbour"), 1), (2, Document("b", "text"), 1)])
        assert found(catalog, "harbour") == ["a"]
        with catalog.writing() as writing:
            writing.remove_documents(writing.find(["a"]))
        assert found(catalog, "harbour") == []

    def test_bm25_ranks_the_allowed_documents_alone(self, catalog, store):
        store({"a": "words", "b": "words words", "c": "words more"})
        with catalog.reading() as reading:
            assert [key for key, _ in reading.bm25("words", 10, {1, 3})] == [1, 3]
            assert [key for key, _ in reading.bm25("words", 1, {3})] == [3]
            assert reading.bm25("words", 10, set()) == []
