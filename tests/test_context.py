from __future__ import annotations

import logging
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag import Hit, InvalidArgumentError, InvalidQueryError, Passage, build_context, estimate_tokens
from colbert_rag.context import passages_to_fill

TALE = "The king was old. He had a son. The son had a horse. It was white. They rode far. Rain fell. They came home."


def words(text: str) -> int:
    return len(text.split())


def hit(text: str, chosen: dict[str, float], name: str = "tale") -> Hit:
    """A hit whose passages are these parts of its text, with these scores."""
    passages = [Passage(text.index(p), text.index(p) + len(p), p, score) for p, score in chosen.items()]
    return Hit(name, 1.0, text, {}, tuple(sorted(passages, key=lambda p: -p.score)))


def texts(context) -> list[str]:
    return [excerpt.text for excerpt in context.excerpts]


def test_passages_come_in_text_order_with_a_gap_where_text_is_left_out():
    context = build_context([hit(TALE, {"Rain fell.": 3, "The king was old.": 2})], 100, count_tokens=words)
    assert context.text == "The king was old. … Rain fell."
    assert [p.text for p in context.excerpts[0].passages] == ["The king was old.", "Rain fell."]


def test_neighbours_become_one_passage_and_keep_the_better_score():
    context = build_context([hit(TALE, {"Rain fell.": 3, "They rode far.": 4})], 100, count_tokens=words)
    [passage] = context.excerpts[0].passages
    assert (passage.text, passage.score) == ("They rode far. Rain fell.", 4)
    assert TALE[passage.start : passage.end] == passage.text == context.text


def test_overlapping_passages_are_one_and_their_matches_are_united():
    passages = (Passage(0, 16, TALE[:16], 2.0, ((4, 8), (9, 12))), Passage(4, 30, TALE[4:30], 1.0, ((4, 8), (18, 20))))
    [passage] = build_context([Hit("a", 1.0, TALE, {}, passages)], 100, count_tokens=words).excerpts[0].passages
    assert passage == Passage(0, 30, TALE[:30], 2.0, ((4, 8), (9, 12), (18, 20)))


def test_the_best_passages_of_all_documents_are_taken_and_documents_keep_their_order():
    one = hit("Aa bb cc. Dd ee ff. Gg hh ii.", {"Aa bb cc.": 1, "Gg hh ii.": 5}, "one")
    two = hit("Jj kk ll. Mm nn oo.", {"Mm nn oo.": 7, "Jj kk ll.": 3}, "two")
    context = build_context([one, two], 9, count_tokens=words)
    assert [(excerpt.hit.id, excerpt.text) for excerpt in context.excerpts] == [
        ("one", "Gg hh ii."),
        ("two", "Jj kk ll. Mm nn oo."),
    ]
    assert context.text == "Gg hh ii.\n\nJj kk ll. Mm nn oo."
    assert context.n_tokens == 9
    assert [(name, p.text) for name, p in context.left_out] == [("one", "Aa bb cc.")]
    assert [p.text for p in context.excerpts[0].left_out] == ["Aa bb cc."]
    assert context.excerpts[1].left_out == ()


def test_of_equal_scores_that_of_the_better_document_is_taken():
    hits = [hit("Aa bb.", {"Aa bb.": 1}, "one"), hit("Cc dd.", {"Cc dd.": 1}, "two")]
    assert [e.hit.id for e in build_context(hits, 2, count_tokens=words).excerpts] == ["one"]
    assert [e.hit.id for e in build_context(hits[::-1], 2, count_tokens=words).excerpts] == ["two"]


def test_a_passage_without_room_is_left_out_whole_and_a_smaller_one_after_it_is_taken():
    found = hit(TALE, {"The king was old.": 3, "The son had a horse.": 2, "Rain fell.": 1})
    context = build_context([found], 7, count_tokens=words)
    assert context.text == "The king was old. … Rain fell."
    assert [p.text for _, p in context.left_out] == ["The son had a horse."]


def test_a_document_of_which_nothing_fits_is_reported(caplog):
    hits = [hit("Aa bb.", {"Aa bb.": 2}, "one"), hit("Cc dd ee ff.", {"Cc dd ee ff.": 1}, "two")]
    with caplog.at_level(logging.INFO, "colbert_rag.context"):
        context = build_context(hits, 3, count_tokens=words)
    assert [name for name, _ in context.left_out] == ["two"]
    assert caplog.messages == ["1 passages had no room in 3 tokens; documents left out: ['two']"]


def test_what_render_adds_is_in_the_text_and_counts():
    found = hit(TALE, {"Rain fell.": 3, "The king was old.": 2})

    def cited(found: Hit, text: str) -> str:
        return f"[{found.id}] {text}"

    assert build_context([found], 8, count_tokens=words, render=cited).text == "[tale] The king was old. … Rain fell."
    context = build_context([found], 7, count_tokens=words, render=cited)
    assert (context.text, context.excerpts[0].evidence) == ("[tale] Rain fell.", "Rain fell.")


def test_the_blank_line_after_a_document_counts():
    hits = [hit("Aa.", {"Aa.": 2}, "one"), hit("Bb.", {"Bb.": 1}, "two")]
    assert texts(build_context(hits, 10, count_tokens=len)) == ["Aa.", "Bb."]
    assert texts(build_context(hits, 9, count_tokens=len)) == ["Aa."]


def test_no_hits_make_an_empty_context():
    context = build_context([], 10)
    assert (context.text, context.n_tokens, context.excerpts, context.left_out) == ("", 0, (), ())


def test_a_budget_that_no_passage_fits_says_what_is_needed():
    with pytest.raises(InvalidQueryError) as raised:
        build_context([hit(TALE, {"The son had a horse.": 3, "They rode far.": 2})], 2, count_tokens=words)
    assert str(raised.value) == (
        "a context of 2 tokens has no room for any of 2 passages: the best takes 5 tokens, the smallest 3. "
        "Allow at least 5, or search for shorter passages."
    )


@pytest.mark.parametrize("budget", [0, -1, 1.5, "9", True, None])
def test_a_budget_that_is_no_whole_number_of_tokens_is_refused(budget):
    with pytest.raises(InvalidQueryError, match=re.escape(f"at least 1, found {budget!r}")):
        build_context([], budget)
    with pytest.raises(InvalidQueryError, match="at least 1"):
        passages_to_fill(budget)


def test_a_hit_without_passages_is_one_passage_and_the_last_to_be_taken():
    hits = [Hit("bare", 1.0, "Whole text.", {}), hit(TALE, {"Rain fell.": 0.1})]
    context = build_context(hits, 4, count_tokens=words)
    assert context.text == "Whole text.\n\nRain fell."
    assert context.excerpts[0].passages == (Passage(0, 11, "Whole text.", 0.0),)
    assert build_context(hits, 3, count_tokens=words).text == "Rain fell."


def test_a_tokeniser_in_place_of_a_count_is_refused_with_the_way_out():
    with pytest.raises(InvalidArgumentError, match=r"found list.*len\(tokenize\(text\)\)"):
        build_context([hit(TALE, {"Rain fell.": 1})], 10, count_tokens=str.split)


SENTENCES = st.lists(
    st.lists(st.sampled_from(["ab", "c", "defg"]), min_size=1, max_size=5), min_size=1, max_size=6
).map(lambda found: [" ".join(sentence) + "." for sentence in found])
SCORES = st.lists(st.integers(0, 9), min_size=6, max_size=6)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(SENTENCES, SCORES), min_size=1, max_size=3), st.integers(8, 60))
def test_every_context_is_what_trying_one_sentence_after_another_gives(documents, budget):
    """The reference keeps sets of sentence numbers and writes each document out again from them."""

    def written(sentences, taken):
        parts = []
        for n in sorted(taken):
            parts.append((" " if n - 1 in taken else " … ") + sentences[n])
        return "".join(parts)[len(" " if not parts or not parts[0].startswith(" …") else " … ") :]

    def size(all_taken):
        return sum(len(written(documents[d][0], taken)) + 2 for d, taken in all_taken.items() if taken)

    hits, candidates = [], []
    for d, (sentences, scores) in enumerate(documents):
        starts = [sum(len(s) + 1 for s in sentences[:n]) for n in range(len(sentences))]
        passages = [
            Passage(a, a + len(s), s, float(score)) for a, s, score in zip(starts, sentences, scores, strict=False)
        ]
        hits.append(Hit(str(d), 0.0, " ".join(sentences), {}, tuple(passages)))
        candidates += [(-scores[n], d, n) for n in range(len(sentences))]
    taken, missed = {d: set() for d in range(len(documents))}, []
    for _, d, n in sorted(candidates):
        if size({**taken, d: taken[d] | {n}}) <= budget:
            taken[d].add(n)
        else:
            missed.append((str(d), documents[d][0][n]))
    if not any(taken.values()):
        with pytest.raises(InvalidQueryError):
            build_context(hits, budget, count_tokens=len)
        return
    context = build_context(hits, budget, count_tokens=len)
    assert texts(context) == [written(documents[d][0], found) for d, found in taken.items() if found]
    assert [(name, p.text) for name, p in context.left_out] == missed
    assert context.n_tokens == size(taken) <= budget
    assert len(context.text) <= budget
    for excerpt in context.excerpts:
        assert all(excerpt.hit.text[p.start : p.end] == p.text for p in excerpt.passages)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        (" \t ", 1),
        ("a cat", 2),
        ("notice", 2),
        ("notices", 3),
        ("It's 1999.", 1 + 1 + 1 + 4 + 1),
        ("one\n\n  two", 1 + 1 + 1 + 1),
        ("a" + " " * 9 + "b", 1 + 3 + 1),
        ("\t\t", 2),
        ("NOTICE", 3),
        ("noticeable", 5),
        ("Frist für", 2 + 1 + 2 + 1),
        ("猫が", 3),
        ("кот", 3),
        ("🐈", 4),
    ],
)
def test_the_estimate_counts_as_it_says(text, tokens):
    assert estimate_tokens(text) == tokens


# with the number of tokens that cl100k_base makes of each, counted once with tiktoken 0.14
COUNTED = [
    ("The notice period is three months.", 7),
    ("Die Kündigungsfrist für Mietverhältnisse beträgt drei Monate.", 22),
    ("    if x == 3:\n        return foo_bar(x)\n", 13),
    ("a\t\tb\tc\t", 5),
    ("name      |     %d        |    x", 10),
    ("NOTWITHSTANDING ANY PROVISION HEREIN", 9),
    ("😀🐈 ✨", 7),
    ("👩\u200d👩\u200d👧\u200d👦", 18),
    ("Η σύμβαση μπορεί να λυθεί", 23),
    ("Договор может быть расторгнут", 12),
    ("ניתן לסיים את החוזה", 18),
    ("يمكن إنهاء العقد", 12),
    ("यह एक परीक्षण वाक्य है", 23),
    ("นี่คือประโยคทดสอบ", 16),
    ("租约可以提前三个月终止。", 13),
    ("契約は三か月前に終了する。", 15),
    ("계약은 삼개월 전에 해지", 15),
    ("ውሉ በሦስት ወር ውስጥ", 33),
    ("စာချုပ်ကို သုံးလအတွင်း", 43),
    ("ხელშეკრულება შეიძლება", 41),
    ("Smlouvu lze vypovědět předem", 16),
    ("qXvZbTfWmKpLrDsHgNcJqXvZbTfWmKpLrDsHgNcJqXvZbTfWmKpLrDsHgNcJ", 57),
]


@pytest.mark.parametrize(("text", "tokens"), COUNTED)
def test_the_estimate_is_not_below_a_tokeniser_and_at_most_four_times_as_much(text, tokens):
    assert tokens <= estimate_tokens(text) <= 4 * tokens


@pytest.mark.parametrize(("budget", "passages"), [(1, 1), (31, 1), (32, 2), (1500, 93), (100_000, 100)])
def test_a_larger_budget_asks_for_more_passages_within_what_a_search_allows(budget, passages):
    assert passages_to_fill(budget) == passages


def test_longer_passages_fill_a_budget_sooner():
    assert passages_to_fill(1500, 3) == 31


@pytest.mark.parametrize("sentences", ["2", None, 0, -1, 2.5, True])
def test_a_number_of_sentences_that_is_none_is_refused(sentences):
    with pytest.raises(
        InvalidQueryError, match=re.escape(f"passage_sentences must be a whole number, at least 1, found {sentences!r}")
    ):
        passages_to_fill(100, sentences)


def test_passages_of_the_caller_s_own_stand_and_none_at_all_are_refused():
    assert passages_to_fill(100, 1, 3) == 3
    assert passages_to_fill(np.int64(100), np.int64(1)) == passages_to_fill(100)
    with pytest.raises(InvalidQueryError, match="passages=0 leaves no evidence"):
        passages_to_fill(100, 1, 0)


@pytest.mark.parametrize(
    ("count", "words_of_error"),
    [
        (lambda text: -5, "0 tokens or more, found -5"),
        (lambda text: True, "an int, found bool"),
        (lambda text: 2.0, "an int, found float"),
        (lambda text: None, "an int, found NoneType"),
    ],
)
def test_a_count_that_is_no_number_of_tokens_is_refused(count, words_of_error):
    with pytest.raises(InvalidArgumentError, match=words_of_error):
        build_context([hit(TALE, {"Rain fell.": 1})], 10, count_tokens=count)


def test_numbers_of_numpy_are_numbers():
    context = build_context([hit(TALE, {"Rain fell.": 1})], np.int64(10), count_tokens=lambda text: np.int64(3))
    assert (context.n_tokens, type(context.n_tokens)) == (3, int)


def test_hits_are_any_iterable_of_hits():
    found = hit(TALE, {"Rain fell.": 1})
    assert build_context(iter([found]), 10).text == "Rain fell."
    for wrong in (None, 3):
        with pytest.raises(InvalidArgumentError, match="takes the hits of a search"):
            build_context(wrong, 10)
    with pytest.raises(InvalidArgumentError, match="found list at position 1"):
        build_context([found, [found]], 10)


@pytest.mark.parametrize("rendered", [None, 3])
def test_what_render_gives_must_be_a_text(rendered):
    with pytest.raises(InvalidArgumentError, match=f"render must give .* found {type(rendered).__name__}"):
        build_context([hit(TALE, {"Rain fell.": 1})], 10, render=lambda found, text: rendered)


def test_a_hit_that_has_been_cut_to_its_evidence_is_refused():
    cut = Hit("tale", 1.0, "Rain fell.", {}, (Passage(TALE.index("Rain"), 90, "Rain fell.", 1.0),))
    with pytest.raises(InvalidArgumentError, match=r"hit 'tale': its text has '' .* not one that has been cut"):
        build_context([cut], 100)


def test_a_hit_that_is_there_twice_takes_its_place_once():
    one, two = hit(TALE, {"Rain fell.": 1, "They rode far.": 3}), hit(TALE, {"Rain fell.": 2})
    other = hit("Aa.", {"Aa.": 9}, "other")
    context = build_context([one, other, two, one], 100, count_tokens=words)
    assert [excerpt.hit.id for excerpt in context.excerpts] == ["tale", "other"]
    assert context.text == "They rode far. Rain fell.\n\nAa."
    assert context.excerpts[0].passages[0].score == 3
    assert [p.score for p in context.excerpts[0].hit.passages] == [3, 2]
    assert context.n_tokens == 6
    changed = Hit("tale", 1.0, "Another text.", {})
    assert len(build_context([one, changed], 100).excerpts) == 2


def test_tokens_are_counted_about_once_for_each_passage_that_may_fit():
    sentences = [f"Number {n:03} says this and that of no interest here." for n in range(400)]
    texts_of_four = [" ".join(sentences[n : n + 100]) for n in (0, 100, 200, 300)]
    hits = [
        hit(text, {s + ".": 1000 - n for n, s in enumerate(text.split(". ")[:-1])}, text[:10]) for text in texts_of_four
    ]
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return words(text)

    context = build_context(hits, 300, count_tokens=count)
    taken = 396 - len(context.left_out)
    assert 25 <= taken <= 30
    assert len(counted) <= taken + 5
    counted.clear()
    with pytest.raises(InvalidQueryError, match="any of 396 passages"):
        build_context(hits, 5, count_tokens=count)
    assert len(counted) == len(set(counted)) == 396
