from __future__ import annotations

import shutil
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noticed_texts import TEXTS, found

from colbert_rag.storage import Catalog, create_catalog, parts_of, words_of
from colbert_rag.types import Document, silent
from colbert_rag.verifying import verify_index


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

    @pytest.mark.parametrize(
        ("text", "inside"),
        [
            ("合同的通知期是三个月。", ["通知期", "通知", "三个月"]),
            ("契約の解約通知期間は三か月です。", ["通知期間", "解約", "三か月"]),
            ("계약의 해지통지기간은 세 달이다.", ["통지기간", "계약"]),
            ("新しいiPhone用のケース", ["iphone", "ケース"]),
            ("\U00020000\U00020001\U00020002", ["\U00020001\U00020002"]),
        ],
    )
    def test_what_stands_between_no_blanks_is_found(self, catalog, store, text, inside):
        store({"a": text, "b": "没有关系的另一句话"})
        for query in (text, *inside):
            assert found(catalog, query) == ["a"]

    def test_a_run_of_one_character_is_a_word(self, catalog, store):
        store({"a": "第 1 課 税", "b": "消費税"})
        assert found(catalog, "税") == ["a"]

    def test_what_resembles_a_query_most_is_first(self, catalog, store):
        store({"a": "通知期为三个月", "b": "通知所有员工", "c": "三个苹果"})
        assert found(catalog, "通知期是几个月")[0] == "a"

    def test_an_index_without_pairs_is_searched_and_changed_as_it_was_made(self, tmp_path, settings):
        create_catalog(tmp_path / "old", settings.model_copy(update={"word_pairs": False}))
        catalog = Catalog(tmp_path / "old")
        documents = [Document("a", "合同的通知期"), Document("b", "合同 notice")]
        with catalog.writing() as writing:
            keys = writing.take_keys(len(documents))
            writing.add_documents((key, d, 1) for key, d in zip(keys, documents, strict=True))
        assert found(catalog, "合同") == ["b"]
        assert found(catalog, "合同的通知期") == ["a"]
        with catalog.writing() as writing:
            writing.remove_documents(writing.find(["a"]))
        assert found(catalog, "合同的通知期") == []
        problems = verify_index(tmp_path / "old", catalog, silent).problems
        assert not [problem for problem in problems if "full-text" in problem]
        catalog.close()

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


@settings(deadline=None)
@given(st.text(st.sampled_from("ab1 通知期かなカー한국·。"), max_size=20))
def test_the_parts_of_a_text_are_its_words(text):
    spaced = "".join(c if c.isalnum() else " " for c in text)
    parts = [word[a:b] for word in spaced.split() for a, b in parts_of(word)]
    assert list(dict.fromkeys(parts)) == words_of(text)
