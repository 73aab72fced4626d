from __future__ import annotations

import pytest

from colbert_rag.readers import JudgedCorpus
from colbert_rag.training.leaks import Leak, find_leaks, relevant_passages, shared_passages
from colbert_rag.training.pairs import Pair
from colbert_rag.types import Document

STORY = "A snow man stood in the yard and said that it was delightfully cold, so cold that his whole body crackled."
PAIRS = [
    Pair("Who wrote Faust?", "Goethe wrote it in two parts, the second of which appeared after his death."),
    Pair("Where did the snow man stand?", STORY),
    Pair("What did the snow man say about the cold?", STORY),
]


def test_a_pair_whose_query_is_a_test_query_leaks_whatever_its_case_and_punctuation():
    assert find_leaks(PAIRS, {"other": "Who reads?", "faust": "who wrote faust"}, {}) == [
        Leak("query", "faust", 0, 1.0)
    ]


def test_a_query_with_a_word_more_leaks_and_one_about_something_else_does_not():
    queries = {
        "near": "So what did the snow man say about the cold?",
        "far": "What did the snow man say about the heat?",
    }
    # eight runs of nine words and one more
    assert find_leaks(PAIRS, queries, {}) == [Leak("query", "near", 2, pytest.approx(7 / 8))]


def test_a_query_that_is_part_of_a_longer_one_asks_something_else():
    queries = {"part": STORY[: STORY.index(", so")]}
    assert find_leaks([Pair(f"{STORY} What does that mean for the sun?", "Nothing.")], queries, {}) == []


@pytest.mark.parametrize(
    "passage",
    [
        STORY,
        STORY.upper(),
        STORY[: STORY.index(", so")],
        f"Once upon a time there was this. {STORY} Then the sun came out.",
    ],
    ids=["equal", "upper case", "part", "around"],
)
def test_every_pair_leaks_whose_positive_is_a_test_passage_or_part_of_one_or_around_it(passage: str):
    assert find_leaks(PAIRS, {}, {"p": passage}) == [Leak("passage", "p", 1, 1.0), Leak("passage", "p", 2, 1.0)]


def test_a_test_that_shares_only_single_words_and_short_runs_has_no_leak():
    passages = {
        "p": "A snow man stood elsewhere: in the city, where nobody said a word and it was warm for the season."
    }
    assert find_leaks(PAIRS, {"q": "Who wrote Werther and why?"}, passages) == []


def test_leaks_are_in_the_order_of_the_pairs():
    leaks = find_leaks(PAIRS, {"q": PAIRS[2].query}, {"p": PAIRS[0].positive})
    assert [(leak.pair, leak.kind) for leak in leaks] == [(0, "passage"), (2, "query")]


def test_passages_of_a_test_are_the_relevant_ones_that_training_does_not_know():
    documents = [Document(key, f"text {key}") for key in "abcd"]
    corpus = JudgedCorpus(documents, {"q": "?", "r": "?"}, {"q": {"a": 1, "b": 0}, "r": {"c": 2}})
    assert relevant_passages(corpus) == {"a": "text a", "c": "text c"}
    assert relevant_passages(corpus, known={"c"}) == {"a": "text a"}


def test_a_document_is_shared_where_a_pair_names_it_and_has_its_text():
    judged = JudgedCorpus([Document("d1", STORY), Document("d2", "Another text about the sun and the moon.")], {}, {})
    part = STORY[: STORY.index(", so")]
    assert shared_passages([Pair("q", STORY, "d1"), Pair("r", "Another text altogether.", "d2")], judged) == {"d1"}
    assert shared_passages([Pair("q", part, "d1")], judged) == {"d1"}
    assert shared_passages([Pair("q", STORY, "other"), Pair("r", STORY)], judged) == set()
