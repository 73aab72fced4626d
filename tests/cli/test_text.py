from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colbert_rag.cli.text import MATCH_STYLE, excerpt, highlight, printable
from colbert_rag.types import Hit, Passage


def marked(text) -> list[str]:
    return [text.plain[span.start : span.end] for span in text.spans if span.style == MATCH_STYLE]


@given(st.text(st.characters()))
def test_printable_text_has_the_same_length_and_no_control_character(text: str):
    shown = printable(text)
    assert len(shown) == len(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs") and c != "\n"]
    shown.encode()


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x9b31m", "\x07", "\r", "\x7f", "\u202e", "\u2066", "\ud800"])
def test_hostile_characters_become_blanks(hostile: str):
    assert printable(f"a{hostile[0]}b") == "a b"


def test_joined_emoji_and_other_scripts_stay():
    text = "\U0001f469\u200d\U0001f52c नमस्ते שלום 通知"
    assert printable(text) == text


def test_matches_are_marked_at_their_offsets_and_cut_to_what_is_shown():
    text = "\x1b[1m The notice period is three months."
    start, end = text.index("notice"), text.index(" months")
    matches = [(0, 3), (start - 2, start + 6), (text.index("three"), len(text)), (end, len(text))]
    shown = highlight(text, start, end, matches)
    assert shown.plain == "notice period is three"
    assert marked(shown) == ["notice", "three"]


def test_an_excerpt_is_the_best_passage_on_one_line():
    text = "First line.\nNotice:\nthree months.\nLast line."
    start, end = text.index("Notice"), text.index("\nLast")
    passage = Passage(start, end, text[start:end], 2.0, ((text.index("three"), text.index(" months")),))
    shown = excerpt(Hit("a", 2.0, text, {}, (passage, Passage(0, 5, "First", 1.0))))
    assert shown.plain == "… Notice: three months. …"
    assert marked(shown) == ["three"]


def test_a_full_excerpt_is_the_whole_text():
    hit = Hit("a", 1.0, "one two\nthree", {}, (Passage(0, 3, "one", 1.0, ((4, 7),)),))
    assert excerpt(hit, is_full=True).plain == "one two\nthree"
    assert marked(excerpt(hit, is_full=True)) == ["two"]


@pytest.mark.parametrize(("length", "end"), [(300, ""), (301, " …")])
def test_without_passages_the_beginning_is_shown(length: int, end: str):
    assert excerpt(Hit("a", 1.0, "x" * length, {})).plain == "x" * 300 + end
