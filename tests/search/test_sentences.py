from __future__ import annotations

import textwrap
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag.search.sentences import sentences

PROSE = [
    "The tenant may end this contract by giving notice in writing to the landlord, who must receive it in time.",
    "The period of notice is, unless both sides have agreed upon something else in writing, six months for each side.",
    "It was agreed in Berlin in the Spring of the year that nobody remembers, by Mr. Hale and by the Mayor of Essen.",
    "Whoever keeps a dog, a cat or a horse has to ask first.",
    "Nobody did!",
]


def parts(text):
    return [text[start:end] for start, end in sentences(text).tolist()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one", ["one"]),
        ("no end of sentence here", ["no end of sentence here"]),
        ("a.b is no end, 3.14 neither", ["a.b is no end, 3.14 neither"]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("Wait... what?! No.", ["Wait...", "what?!", "No."]),
        ("line one\nline two\n\n\nline three", ["line one", "line two", "line three"]),
        ("これは文です。次の文！三つ目？終わり", ["これは文です。", "次の文！", "三つ目？", "終わり"]),
        ("\r\n one \r\n two \r\n", ["one", "two"]),
        ("„Halt.“ Dann »Nein.« Ja… Gut.", ["„Halt.“", "Dann »Nein.«", "Ja…", "Gut."]),
        ("यह पहला है। यह दूसरा है॥ तीसरा", ["यह पहला है।", "यह दूसरा है॥", "तीसरा"]),
        ("هل يمكن ذلك؟ نعم يمكن.", ["هل يمكن ذلك؟", "نعم يمكن."]),
        ("یہ پہلا ہے۔ یہ دوسرا ہے۔", ["یہ پہلا ہے۔", "یہ دوسرا ہے۔"]),
        ("「はい。」次の文．終わり", ["「はい。」", "次の文．", "終わり"]),
        ("《书。》他说（是。）【完！】好", ["《书。》", "他说（是。）", "【完！】", "好"]),
        ("まさか！？はい", ["まさか！？", "はい"]),
        ("約１．５倍です。", ["約１．５倍です。"]),
    ],
)
def test_sentences_end_where_a_reader_sees_their_end(text, expected):
    assert parts(text) == expected


@pytest.mark.parametrize("text", ["Dr. Ng", "Mr. Ng", "Mrs. Ng", "Ms. Ng", "Prof. Ng", "St. Ives", "Paul vs. Jo"])
@pytest.mark.parametrize("blank", [" ", "  "])
def test_an_abbreviation_ends_no_sentence(text, blank):
    text = text.replace(" ", blank)
    assert parts(f"It says {text} there. The end.") == [f"It says {text} there.", "The end."]


@pytest.mark.parametrize(
    "text",
    [
        "J. R. Tolkien wrote (J. Doe)",
        "É. Zola wrote",
        "Pets, e.g. cats, i.e. animals",
        "See No. 5 and Fig. 3",
        "A, etc. or",
    ],
)
def test_initials_and_shortened_words_end_no_sentence(text):
    assert parts(f"{text} too. The end.") == [f"{text} too.", "The end."]


def test_what_only_looks_like_an_abbreviation_ends_its_sentence():
    assert parts("Is it? No. It is not.") == ["Is it?", "No.", "It is not."]
    assert parts("Cats etc. The end.") == ["Cats etc.", "The end."]
    assert parts("He was first. Then he fell.") == ["He was first.", "Then he fell."]
    assert parts("Ask Dr.\n\nNothing follows.") == ["Ask Dr.", "Nothing follows."]


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
@pytest.mark.parametrize("width", [50, 66, 72, 80, 100])
def test_sentences_of_wrapped_text_are_those_of_the_text_before_it_was_wrapped(width, line_break):
    wrapped = textwrap.fill(" ".join(PROSE), width).replace("\n", line_break)
    text = f"{wrapped}{line_break * 2}{wrapped}"
    assert [" ".join(part.split()) for part in parts(text)] == PROSE * 2


def test_a_line_that_ends_with_a_comma_flows_on_however_short_it_is():
    text = "The period of notice that both of the sides have agreed upon here\nis, in writing,\nsix months.\nNo pets."
    assert [part.split("\n")[-1] for part in parts(text)] == ["six months.", "No pets."]


def test_a_blank_line_ends_a_sentence_even_between_full_lines():
    line = "the landlord who must receive it no later than the third working"
    assert parts(f"{line}\n \t\n{line}\n\n{line}") == [line] * 3


def test_a_line_that_is_clearly_shorter_than_those_around_it_ends_a_sentence():
    line = "the landlord who must receive it no later than the third working"
    assert parts(f"{line}\n{line}\nas agreed upon\n{line}") == [f"{line}\n{line}\nas agreed upon", line]


@pytest.mark.parametrize(
    "start", ["- ", "* ", "• ", "1) ", "12) ", "(a) ", "iv) ", "## ", "> ", "PhD D: ", "Speaker 1: ", "[00:12] "]
)
def test_an_item_a_heading_or_a_speaker_starts_a_sentence_whatever_the_line_before(start):
    line = "the landlord who must receive it no later than the third working"
    assert parts(f"{line}\n{start}{line}") == [line, f"{start}{line}"]


def test_utterances_one_a_line_stay_apart_however_long_they_are():
    words = "uh so it would be the same thing as before and I think that we can do it"
    utterances = [f"{who}: {' '.join([words] * n)}" for n, who in enumerate(["PhD D", "Grad", "Professor B"] * 2, 1)]
    utterances = [utterance for utterance in utterances if len(utterance) < 400]
    assert len(utterances) == 5
    assert parts("\n".join(utterances)) == utterances
    unlabelled = [utterance.split(": ")[1] for utterance in utterances[2:]]
    assert parts("\n".join(unlabelled)) == unlabelled


def test_a_line_that_had_room_for_the_capitalised_word_after_it_ends_a_sentence():
    headlines = [
        "President visits Paris to talk about the weather",
        "Court rules against the ban of dogs in the parks of the city",
        "Nothing happened on Sunday, says the head",
    ]
    assert parts("\n".join(headlines))[0] == headlines[0]
    lowered = [headline.lower() for headline in headlines]
    assert parts("\n".join(lowered)) == ["\n".join(lowered)]


@pytest.mark.parametrize("blank", [" ", "\t", "\u3000", "\u2003"])
def test_a_long_stretch_without_sentence_ends_is_cut_at_any_blank(blank):
    text = blank.join(f"word{n}" for n in range(400))
    found = parts(text)
    assert len(found) > 5
    assert all(len(part) <= 400 for part in found)
    assert blank.join(found) == text


def test_a_long_stretch_without_blanks_is_cut_all_the_same():
    assert sentences("x" * 1_000).tolist() == [[0, 400], [400, 800], [800, 1_000]]


@pytest.mark.parametrize("one", ["e\u0301\u0323", "नि", "👩‍👧", "👍🏽"])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_a_character_of_several_code_points_is_never_cut(one, shift):
    found = parts("x" * shift + one * 500)
    assert len(found) > 2
    assert all(part.replace(one, "").strip("x") == "" for part in found)
    assert all(len(part) <= 400 for part in found)


def test_a_character_with_more_marks_than_a_sentence_has_characters_stays_whole():
    text = "a" + "\u0301" * 1_000
    assert parts(text + "bc") == [text, "bc"]


@settings(deadline=None)
@given(st.text(st.sampled_from("aB .!?…\n\r\t,:-1。！．।\"')🙂e\u0301\u3000"), max_size=900))
def test_sentences_of_any_text_are_all_of_it_but_the_blanks(text):
    found = sentences(text).tolist()
    assert "".join("".join(text[a:b].split()) for a, b in found) == "".join(text.split())
    if text.strip():
        assert all(text[a:b] == text[a:b].strip() != "" for a, b in found)
        assert all(b - a <= 400 or all(unicodedata.combining(c) for c in text[a + 400 : b]) for a, b in found)
