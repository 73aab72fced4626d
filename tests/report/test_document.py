from __future__ import annotations

import re

import pytest

from colbert_rag import Explanation, QueryToken, TokenLabel, TokenMatch
from colbert_rag.report.document import document_text, level_of

TEXT = "The notice is long. A period of months."


def test_the_whole_text_is_there_and_marks_stand_on_what_was_matched(explained, read):
    page = read(document_text(explained(TEXT, passages=((20, 39),)), "d1"))
    assert page.document == TEXT
    assert (page.by_id["d1-m0"], page.by_id["d1-m1"]) == ("notice", "period")


def test_a_long_text_is_there_whole_with_its_rest_folded(explained, read):
    text = "one two three. " * 20_000 + TEXT + " four five six." * 20_000
    html = document_text(explained(text), "d1")
    assert read(html).document == text
    assert html.count("<details") == 2
    assert re.search(r"<summary>[\d,]+ characters without a match</summary>", html)
    assert len(html) < 1.01 * len(text)


def test_a_mark_says_what_matched_it_and_links_to_that_row(explained):
    html = document_text(explained(TEXT), "d2")
    assert '<mark id="d2-m0" class=s4 data-n="2"><a href="#d2-q1" title="notice 0.95">notice</a></mark>' in html
    assert (
        '<mark id="d2-m1" class=s2 data-n="3,4"><a href="#d2-q2" title="period 0.50; ? 0.10">period</a></mark>' in html
    )


def test_passages_are_named_with_rank_and_score(explained, read):
    html = document_text(explained(TEXT, passages=((20, 39), (0, 19))), "d1")
    assert re.findall(r'class=passage title="([^"]*)"', html) == ["evidence 2, score 1.25", "evidence 1, score 1.25"]
    assert read(html).document == TEXT


def test_a_mark_across_the_border_of_a_passage_has_one_id_and_one_number(explained, read):
    html = document_text(explained(TEXT, passages=((0, 7),)), "d1")
    assert html.count('id="d1-m0"') == html.count('data-n="2"') == 1
    assert read(html).document == TEXT


def test_many_numbers_are_counted_and_tokens_of_no_word_have_none(explained):
    word, mask = TokenLabel("a", 0, 1), TokenLabel("[MASK]")
    match = TokenMatch(4, 10, "notice")
    hit = explained(TEXT).hit
    many = Explanation(hit, tuple(QueryToken(word, 0.5, match) for _ in range(6)))
    assert 'data-n="1,2,3+3"' in document_text(many, "d1")
    masks = Explanation(hit, (QueryToken(mask, 0.5, match),))
    assert 'data-n=""' in document_text(masks, "d1")


@pytest.mark.parametrize(
    ("similarity", "level"), [(-0.2, 0), (0.0, 0), (0.19, 0), (0.2, 1), (0.7, 3), (1.0, 4), (1.1, 4)]
)
def test_levels_are_fifths_of_the_similarity(similarity, level):
    assert level_of(similarity) == level
