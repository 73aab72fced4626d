from __future__ import annotations

import re
from dataclasses import replace

from colbert_rag import Explanation, TokenLabel
from colbert_rag.report.alignment import alignment_table, question_strip

TEXT = "The notice is long. A period of months."


def test_the_question_reads_as_it_was_asked_with_its_tokens_shaded(explained):
    html = question_strip(explained(TEXT), "notice period? <now>", "d1")
    assert re.sub("<[^>]*>", "", html) == "notice period? &lt;now&gt;"
    assert '<a class="chip s4" data-n=2 title="similarity 0.95" href="#d1-q1">notice</a>' in html
    assert re.findall(r"chip s(\d)", html) == ["4", "2", "0"]


def test_tokens_without_labels_are_numbered(explained):
    explanation = explained(TEXT)
    bare = Explanation(explanation.hit, tuple(replace(t, label=TokenLabel("")) for t in explanation.query_tokens))
    assert re.findall(r">(token \d)</a>", question_strip(bare, "?", "d1")) == [
        "token 1",
        "token 2",
        "token 3",
        "token 4",
    ]
    assert "<bdi>token 4</bdi>" in alignment_table(bare, "d1")


def test_rows_link_to_the_marks_that_they_matched(explained, read):
    html = alignment_table(explained(TEXT), "d1")
    page = read(html)
    assert page.links == ["#d1-m0", "#d1-m1", "#d1-m1"]
    assert page.by_id["d1-q1"] == "2notice 0.95notice4"
    assert page.by_id["d1-q2"] == "3period 0.50period22"


def test_tokens_of_no_word_are_folded_away_and_counted_in_the_sum(explained, read):
    html = alignment_table(explained(TEXT), "d1")
    fold = html[html.index("<details>") : html.index("</details>")]
    assert "(1): 0.30" in fold
    assert "[CLS]" in fold
    assert "no text: a special token or the heading" in fold
    assert html.endswith("Sum of all similarities (MaxSim): <b>1.85</b></p>")


def test_a_negative_similarity_is_written_and_has_an_empty_bar(explained):
    explanation = explained(TEXT)
    token = replace(explanation.query_tokens[1], similarity=-0.25)
    assert "<meter aria-hidden=true max=1.000 value=0.000></meter> -0.25" in alignment_table(
        Explanation(explanation.hit, (token,)), "d1"
    )


def test_the_bar_of_a_weighted_similarity_above_1_is_the_longest(explained):
    explanation = explained(TEXT)
    heavy = tuple(replace(token, similarity=2 * token.similarity) for token in explanation.query_tokens)
    bars = re.findall(r"max=([\d.]+) value=([\d.]+)", alignment_table(Explanation(explanation.hit, heavy), "d1"))
    longest = max(token.similarity for token in heavy)
    assert longest > 1
    assert {most for most, _ in bars} == {f"{longest:.3f}"}
    assert max(float(length) for _, length in bars) == longest


def test_bars_of_cosines_end_at_1(explained):
    assert set(re.findall(r"max=([\d.]+)", alignment_table(explained(TEXT), "d1"))) == {"1.000"}
