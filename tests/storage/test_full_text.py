from __future__ import annotations

import shutil
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noticed_texts import TEXTS, found

from colbert_rag.storage import Catalog
from colbert_rag.types import Document


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


@pytest.fixture(scope="module")
def shared(tmp_path_factory, empty):
    """A catalog for many small queries."""
    catalog = Catalog(shutil.copytree(empty, tmp_path_factory.mktemp("shared") / "index"))
    yield catalog
    catalog.close()


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_a_query(shared, query):
    with shared.reading() as reading:
        assert reading.bm25(query, 3) == []
