from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag.search import best_passages, passages_of_all, word_passages
from colbert_rag.storage import words_of

TEXT = "First comes the notice.  Then, at last, three months pass! Does it end?\nYes: in May."


def word_spans(text):
    return np.array([m.span() for m in re.finditer(r"\w+", text)] or [(0, 0)], np.int32)


def similarities_of(spans, n_query=5, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (len(spans), n_query)).astype(np.float32)


def texts(passages):
    return [passage.text for passage in passages]


def test_passages_are_the_sentences_by_their_own_maxsim():
    spans = word_spans(TEXT)
    similarities = similarities_of(spans)
    sentences = ["First comes the notice.", "Then, at last, three months pass!", "Does it end?", "Yes: in May."]
    expected = []
    for sentence in sentences:
        start = TEXT.index(sentence)
        inside = (spans[:, 0] >= start) & (spans[:, 1] <= start + len(sentence))
        expected.append((float(similarities[inside].max(axis=0).sum()), start, sentence))
    expected.sort(reverse=True)
    found = best_passages(TEXT, spans, similarities, 10)
    assert [(p.start, p.end, p.text) for p in found] == [(s, s + len(t), t) for _, s, t in expected]
    np.testing.assert_allclose([p.score for p in found], [score for score, _, _ in expected], rtol=1e-6)
    assert best_passages(TEXT, spans, similarities, 2) == found[:2]


def test_a_passage_is_its_characters_of_the_text():
    text = f"   {TEXT}   \n\n  Last one.\t "
    spans = word_spans(text)
    for passage in best_passages(text, spans, similarities_of(spans), 10):
        assert text[passage.start : passage.end] == passage.text == passage.text.strip() != ""


def test_matches_are_the_best_tokens_inside_the_passage_of_each_query_token():
    text = "alpha beta. gamma delta. other words."
    spans = word_spans(text)
    # the query tokens match beta, beta and gamma best
    similarities = np.array([[0, 0, 0], [1, 1, 0], [-1, -1, 1], [0.5, 0.5, 0.5], [-1, 0, 0], [0, 0.1, 0]], np.float32)
    found = sorted(best_passages(text, spans, similarities, 3), key=lambda p: p.start)
    assert [[text[a:b] for a, b in passage.matches] for passage in found] == [["beta"], ["gamma", "delta"], ["words"]]


def test_a_passage_that_resembles_nothing_of_the_query_has_its_least_unlike_token_as_match():
    similarities = np.array([[-0.3, -0.9], [-0.2, -0.8]], np.float32)
    [passage] = best_passages("alpha beta", word_spans("alpha beta"), similarities, 1)
    assert passage.matches == ((6, 10),)


def test_a_match_that_reaches_over_the_border_of_its_passage_is_cut_there():
    text = "是。他去。"
    spans = np.array([[0, 1], [1, 3], [3, 5]], np.int32)
    one, other = sorted(best_passages(text, spans, np.eye(3, dtype=np.float32), 2), key=lambda p: p.start)
    assert (texts([one, other]), one.matches, other.matches) == (["是。", "他去。"], ((0, 2),), ((3, 5),))


def test_matches_that_touch_are_joined():
    text = "unbelievable thing"
    spans = np.array([[0, 2], [2, 9], [9, 12], [13, 18]], np.int32)
    similarities = np.eye(4, dtype=np.float32)
    [passage] = best_passages(text, spans, similarities, 1)
    assert passage.matches == ((0, 12), (13, 18))


def test_matches_on_both_sides_of_a_border_without_a_blank_stay_apart():
    """Chinese sentences follow each other without a blank: the tokens touch, the passages differ."""
    text = "我爱北京。他去上海。"
    spans = np.array([[n, n + 1] for n in range(len(text))], np.int32)
    similarities = np.zeros((10, 2), np.float32)
    similarities[4, 0] = similarities[5, 1] = 1
    one, other = sorted(best_passages(text, spans, similarities, 5), key=lambda p: p.start)
    assert texts([one, other]) == ["我爱北京。", "他去上海。"]
    assert (one.matches, other.matches) == (((4, 5),), ((5, 6),))


def test_tokens_without_text_neither_make_nor_lift_a_passage():
    text = "Alpha beta. Gamma."
    spans = np.array([[0, 0], [0, 5], [6, 10], [12, 17], [18, 18]], np.int32)
    similarities = np.array([[9, 9], [0.1, 0.2], [0.3, 0], [0.2, 0.1], [9, 9]], np.float32)
    first, second = best_passages(text, spans, similarities, 5)
    assert (first.text, second.text) == ("Alpha beta.", "Gamma.")
    np.testing.assert_allclose([first.score, second.score], [0.5, 0.3], rtol=1e-6)
    assert first.matches == ((0, 5), (6, 10))


def test_without_any_token_of_text_there_is_no_passage():
    assert best_passages("?!", np.zeros((3, 2), np.int32), similarities_of(np.zeros((3, 2))), 5) == ()


@settings(deadline=None)
@given(st.text(st.sampled_from("ab .!?\n。\"')🙂é"), min_size=1, max_size=60).filter(str.strip))
def test_passages_of_any_text_are_disjoint_parts_of_it_with_matches_inside(text):
    spans = np.array([[n, n + 1] for n, c in enumerate(text) if not c.isspace()], np.int32)
    similarities = similarities_of(spans)
    found = sorted(best_passages(text, spans, similarities, 99), key=lambda p: p.start)
    assert found
    end = 0
    for passage in found:
        assert end <= passage.start < passage.end <= len(text)
        assert passage.text == text[passage.start : passage.end]
        assert all(passage.start <= a < b <= passage.end for a, b in passage.matches)
        end = passage.end
    best = max(passage.score for passage in found)
    assert best <= similarities.max(axis=0).sum() + 1e-6


@pytest.mark.parametrize("n_passages", [1, 3])
def test_several_documents_at_once_get_what_each_gets_alone(n_passages):
    texts = [TEXT, "  \n One.  ", "x", f"\n{TEXT}\n\n", "No end of this sentence " * 60, "?!"]
    spans = [word_spans(text) for text in texts]
    # markers stand for no text, and one document has nothing else
    spans = [np.vstack([[[0, 0]], part]).astype(np.int32) for part in spans[:-1]] + [np.zeros((2, 2), np.int32)]
    similarities = [similarities_of(part, seed=n) for n, part in enumerate(spans)]
    counts = [len(part) for part in spans]
    together = passages_of_all(texts, np.concatenate(spans), counts, np.concatenate(similarities), n_passages)
    alone = [best_passages(*part, n_passages) for part in zip(texts, spans, similarities, strict=True)]
    assert together == alone
    assert [len(found) for found in together] == [min(n, n_passages) for n in (4, 1, 1, 4, 4, 0)]


class TestWords:
    def test_the_sentence_with_most_of_the_words_comes_first(self):
        found = word_passages(TEXT, ["months", "pass", "notice", "absent"], 3)
        assert [(p.text, p.score) for p in found] == [
            ("Then, at last, three months pass!", 2.0),
            ("First comes the notice.", 1.0),
        ]
        assert [TEXT[a:b] for a, b in found[0].matches] == ["months", "pass"]

    def test_a_repeated_word_counts_once_and_is_marked_twice(self):
        [passage] = word_passages("May, may not. June.", ["may"], 3)
        assert (passage.text, passage.score, passage.matches) == ("May, may not.", 1.0, ((0, 3), (5, 8)))

    def test_case_and_accents_do_not_matter(self):
        for text, word in [("Un CAFÉ noir.", "cafe"), ("Un cafe\u0301.", "café"), ("İstanbul", "istanbul")]:
            assert len(word_passages(text, [word], 1)) == 1

    def test_a_text_without_the_words_is_shown_by_its_first_sentence(self):
        for words in (["absent"], []):
            [passage] = word_passages(f"  {TEXT}", words, 3)
            assert (passage.text, passage.start, passage.score, passage.matches) == (
                "First comes the notice.",
                2,
                0.0,
                (),
            )

    def test_words_between_no_blanks_are_marked(self):
        [passage] = word_passages("公司在柏林。合同的通知期是三个月。", words_of("通知期"), 1)
        assert passage.text == "合同的通知期是三个月。"
        assert [passage.text[a - passage.start : b - passage.start] for a, b in passage.matches] == ["通知期"]
        assert passage.score == 2

    def test_no_passages_asked_for_are_none_given(self):
        assert word_passages(TEXT, ["notice"], 0) == ()


class TestPassagesOfSeveralSentences:
    TEXT = "A b. C d. E f. G h. I j. K l."
    SPANS = np.array([(0, 1), (2, 3), (5, 6), (7, 8), (10, 11), (12, 13), (15, 16), (17, 18), (20, 21), (22, 23)])

    def best(self, similar, n_passages, n_sentences):
        """Passages where each query token likes the document tokens given by position, all others not at all."""
        similarities = np.zeros((len(self.SPANS), len(similar)), np.float32)
        for query_token, likes in enumerate(similar):
            for token, value in likes.items():
                similarities[token, query_token] = value
        return best_passages(self.TEXT, self.SPANS.astype(np.int32), similarities, n_passages, n_sentences)

    def test_neighbours_that_answer_together_beat_one_sentence_that_answers_half(self):
        # the third sentence alone has 1.0, the fifth and the sixth 0.8 each for different query tokens
        [passage] = self.best([{4: 1.0, 6: 0.8}, {8: 0.8}], 1, 2)
        assert passage.text == "G h. I j."
        assert passage.score == pytest.approx(1.6)
        assert passage.matches == ((15, 16), (20, 21))

    def test_passages_do_not_overlap_and_stay_of_so_many_sentences(self):
        passages = self.best([{0: 1.0, 4: 0.9}, {2: 1.0, 6: 0.8}], 2, 2)
        assert [p.text for p in passages] == ["A b. C d.", "E f. G h."]
        assert [p.score for p in passages] == [pytest.approx(2.0), pytest.approx(1.7)]

    def test_of_runs_that_hold_the_same_answer_the_one_with_more_around_it_wins(self):
        [passage] = self.best([{4: 1.0, 6: 0.5}], 1, 2)
        assert passage.text == "E f. G h."

    def test_more_sentences_than_there_are_give_the_whole_text(self):
        [passage] = self.best([{4: 1.0}], 3, 50)
        assert passage.text == "A b. C d. E f. G h. I j."

    @pytest.mark.parametrize("n_sentences", [1, 2, 3, 5])
    @pytest.mark.parametrize("n_passages", [1, 2, 4])
    def test_no_passage_scores_more_than_the_best_run_found_by_trying_all(self, n_sentences, n_passages):
        rng = np.random.default_rng(n_sentences * 10 + n_passages)
        similarities = rng.random((10, 3)).astype(np.float32)
        found = best_passages(self.TEXT, self.SPANS.astype(np.int32), similarities, n_passages, n_sentences)
        runs = [
            similarities[2 * first : 2 * (first + n_sentences)].max(axis=0).sum() for first in range(6 - n_sentences)
        ]
        assert max(p.score for p in found) >= 0.95 * max(runs)
        assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)
        ordered = sorted(found, key=lambda p: p.start)
        assert all(a.end < b.start for a, b in pairwise(ordered))

    def test_a_sentence_in_a_gap_too_narrow_for_a_run_is_found(self):
        # the best run takes the middle of the text; the answer's end is the last sentence, alone
        passages = self.best([{4: 1.0}, {6: 1.0}, {8: 0.9}, {2: 0.6}], 9, 3)
        assert [p.text for p in passages] == ["E f. G h. I j.", "A b. C d."]

    def test_a_good_sentence_in_a_gap_comes_before_a_poor_run(self):
        text = "".join(f"w{n:02}. " for n in range(20))
        spans = word_spans(text)
        similarities = np.zeros((20, 3), np.float32)
        similarities[[1, 2, 3], [0, 1, 2]] = 1
        similarities[0], similarities[10:] = 0.9, 0.1
        assert texts(best_passages(text, spans, similarities, 2, 3)) == ["w01. w02. w03.", "w00."]

    @settings(deadline=None)
    @given(st.integers(1, 40), st.integers(1, 7), st.integers(0, 2**32 - 1))
    def test_with_enough_passages_every_sentence_is_in_exactly_one_of_at_most_so_many(self, count, width, seed):
        sentences = [f"w{n:02}." for n in range(count)]
        text = " ".join(sentences)
        spans = word_spans(text)
        similarities = similarities_of(spans, seed=seed)
        found = sorted(best_passages(text, spans, similarities, count, width), key=lambda p: p.start)
        assert " ".join(texts(found)) == text
        assert all(1 <= len(p.text.split()) <= width for p in found)
        assert all(p.matches for p in found)
        starts = {p.start: p for p in found}
        [best] = best_passages(text, spans, similarities, 1, width)
        assert starts[best.start] == best
        assert len(best.text.split()) == min(width, count)
        for p in found:
            inside = (spans[:, 0] >= p.start) & (spans[:, 1] <= p.end)
            assert p.score == pytest.approx(similarities[inside].max(axis=0).sum(), abs=1e-5)

    def test_words_are_counted_over_all_sentences_of_a_run(self):
        text = "One fox. Nothing here. Two foxes. The hen sat. The end."
        [passage] = word_passages(text, ["fox", "hen"], 1, 4)
        assert passage.text == "One fox. Nothing here. Two foxes. The hen sat."
        assert passage.score == 2

    def test_a_run_without_any_of_the_words_is_no_passage(self):
        text = "One fox. Nothing here. Nor here. Nor there. And again. The end."
        assert len(word_passages(text, ["fox"], 3, 2)) == 1
