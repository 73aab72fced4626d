from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_rag.training.shingles import NearDuplicates, containment, jaccard, passage_likeness, shingled

# few words, so that random texts have runs in common
TEXTS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=30).map(" ".join)
TWELVE = "one two three four five six seven eight nine ten eleven twelve"


def runs(text: str) -> set[tuple[str, ...]]:
    """The definition: every three words in a row, or all of them where there are fewer."""
    words = re.findall(r"\w+", text.lower())
    size = min(3, len(words))
    return {tuple(words[start : start + size]) for start in range(len(words) - size + 1)}


@given(one=TEXTS, other=TEXTS)
def test_similarities_equal_their_definitions(one: str, other: str):
    shared, every = runs(one) & runs(other), runs(one) | runs(other)
    assert jaccard(shingled(one), shingled(other)) == len(shared) / len(every)
    shorter = min(len(runs(one)), len(runs(other)))
    assert containment(shingled(one), shingled(other)) == len(shared) / shorter
    expected = len(shared) / (shorter if shorter >= 8 else len(every))
    assert passage_likeness(shingled(one), shingled(other)) == expected


@given(
    texts=st.lists(TEXTS, max_size=6), text=TEXTS, threshold=st.sampled_from([0.5, 0.8, 1.0]), is_passage=st.booleans()
)
def test_candidates_miss_no_text_that_a_comparison_of_all_finds(texts, text, threshold, is_passage):
    likeness = passage_likeness if is_passage else jaccard
    every = {n: likeness(shingled(other), shingled(text)) for n, other in enumerate(texts)}
    expected = {n: value for n, value in every.items() if value >= threshold}
    assert NearDuplicates(texts, threshold).find(shingled(text), is_passage=is_passage) == expected


@pytest.mark.parametrize("other", [TWELVE.upper(), TWELVE.replace(" ", ", ") + "!", "\uff4f\uff4e\uff45" + TWELVE[3:]])
def test_case_punctuation_and_compatible_characters_make_no_difference(other: str):
    assert jaccard(shingled(TWELVE), shingled(other)) == 1.0


def test_a_part_of_a_passage_is_like_it_and_a_few_words_of_it_are_not():
    assert passage_likeness(shingled(TWELVE), shingled(f"zero {TWELVE} thirteen")) == 1.0
    assert passage_likeness(shingled("one two three four"), shingled(TWELVE)) == 0.2


def test_scripts_without_blanks_are_read_by_character():
    assert len(shingled("これは日本語です")) == 6
    assert jaccard(shingled("これは日本語です"), shingled("これは日本語だ")) == 4 / 7


@pytest.mark.parametrize("text", ["", "?!", "  "])
def test_a_text_without_words_is_like_itself_alone(text: str):
    near = NearDuplicates([text, "word"])
    assert near.find(shingled(text), is_passage=True) == {0: 1.0}


def test_among_no_texts_nothing_is_near():
    assert NearDuplicates([]).find(shingled("a text"), is_passage=True) == {}
