from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from colbert_rag import Passage, QueryToken, TokenLabel, TokenMatch
from colbert_rag.report.marking import Mark, marks_of, pieces_of, stretches_of


def matched(*spans):
    return [QueryToken(TokenLabel("x", 0, 1), 0.5, TokenMatch(a, b, "y" * (b - a))) for a, b in spans]


def test_tokens_with_one_match_share_a_mark_and_overlapping_matches_are_joined():
    assert marks_of(matched((8, 9), (0, 3), (8, 9), (2, 5), (6, 6), (5, 7))) == [
        Mark(0, 5, (1, 3)),
        Mark(5, 7, (5,)),
        Mark(8, 9, (0, 2)),
    ]


def test_what_is_far_from_every_mark_is_folded_away():
    text = "word " * 1000
    [left, middle, gap, last, right] = stretches_of(
        text, [Passage(2000, 2100, text[2000:2100], 1.0)], [Mark(4000, 4004, (0,))]
    )
    assert [s.is_shown for s in (left, middle, gap, last, right)] == [False, True, False, True, False]
    assert 1840 <= middle.start <= 1845
    assert 2255 <= middle.end <= 2260
    assert (left.start, right.end) == (0, len(text))
    assert text[middle.start - 1] == text[middle.end] == text[last.start - 1] == " "


def test_short_texts_and_short_gaps_are_shown_whole():
    text = "word " * 130
    for marks in ([], [Mark(300, 304, (0,))]):
        [only] = stretches_of(text, [], marks)
        assert (only.start, only.end, only.is_shown) == (0, len(text), True)


def test_a_text_without_marks_begins_with_what_is_shown():
    first, rest = stretches_of("word " * 1000, [], [])
    assert (first.start, first.is_shown, rest.is_shown) == (0, True, False)
    assert 600 <= first.end <= 760


spans = st.tuples(st.integers(0, 3000), st.integers(1, 300)).map(lambda pair: (pair[0], sum(pair)))


@given(st.text("ab \n", min_size=3300, max_size=3300), st.lists(spans, max_size=5), st.lists(spans, max_size=3))
def test_pieces_cover_the_text_once_and_show_every_mark(text, matches, evidence):
    marks = marks_of(matched(*matches))
    passages = [Passage(a, b, text[a:b], 1.0) for a, b in evidence]
    stretches = stretches_of(text, passages, marks)
    assert [s.start for s in stretches] == [0, *(s.end for s in stretches[:-1])]
    assert stretches[-1].end == len(text)
    pieces = [piece for s in stretches if s.is_shown for piece in pieces_of(s, passages, marks)]
    for n, mark in enumerate(marks):
        held = [piece for piece in pieces if piece.mark == n]
        assert (held[0].start, held[-1].end) == (mark.start, mark.end)
    for piece in pieces:
        inside = [p for p in passages if p.start <= piece.start and piece.end <= p.end]
        assert (piece.passage is not None) == bool(inside)
