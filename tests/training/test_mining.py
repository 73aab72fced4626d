from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from colbert_rag.errors import InvalidDocumentError, InvalidTrainingError
from colbert_rag.testing import HashEncoder
from colbert_rag.training.mining import complete, mine
from colbert_rag.training.pairs import Pair

# words are nearly orthogonal in so many dimensions: MaxSim nearly counts the query's words in a document
ENCODER = HashEncoder(dim=512)
QUERY = "red green blue"
ANSWER = "red green blue is what the paint of the old house by the river looks like today"
PAIR = Pair(QUERY, ANSWER, passage_id="answer")
NEGATIVES = {f"n{n}": f"red green paper number {n} lies on table {n} of room {n}" for n in range(8)}


def mined(pairs=(PAIR,), corpus=NEGATIVES, **options):
    return mine(list(pairs), corpus, ENCODER, **{"n_negatives": 20, "depth": 50, **options})


def drawn(*args, **options) -> set[str]:
    """The negatives of the first pair, all that are left."""
    query, (positive, *negatives) = (example := mined(*args, **options)[0]).query, example.documents
    assert (query, positive, example.scores) == (QUERY, ANSWER, None)
    assert len(set(negatives)) == len(negatives)
    return set(negatives)


def maxsim(query: str, text: str) -> float:
    [query_vectors], [document] = ENCODER.encode_queries([query]), ENCODER.encode_documents([text])
    return float((query_vectors @ document.vectors.astype(np.float32).T).max(axis=1).sum())


def test_negatives_are_what_the_search_finds_and_no_answer():
    assert drawn() == set(NEGATIVES.values())


def test_every_rule_holds_against_a_brute_force():
    """Ranks by MaxSim in NumPy; the first ones below the limit are what may be drawn."""
    words = ["red", "green", "blue", "grey", "black", "white", "paint", "house", "river", "paper", "table", "room"]
    randoms = np.random.default_rng(0)
    corpus = {f"d{n}": " ".join(randoms.choice(words, 4)) + f" {n}" for n in range(60)} | {"answer": ANSWER}
    scores = {key: maxsim(QUERY, text) for key, text in corpus.items()}
    first = sorted(scores, key=lambda key: -scores[key])[:30]
    limit = 0.5 * scores["answer"]
    expected = {corpus[key] for key in first if scores[key] <= limit and key != "answer"}
    near = [key for key in first if abs(scores[key] - limit) < 1e-3]
    edge = scores[first[-1]] - max(score for key, score in scores.items() if key not in first)
    assert 5 < len(expected) < 25
    assert not near
    assert edge > 1e-3
    assert drawn(corpus=corpus, depth=30, margin=0.5) == expected


def test_a_positive_of_the_same_query_is_no_negative_and_one_of_another_query_is():
    same = Pair(QUERY, "blue green red are the colours that nobody forgets")
    other = Pair("yellow", "red yellow green")
    corpus = {**NEGATIVES, "same": same.positive, "other": other.positive}
    assert drawn([PAIR, same, other], corpus) == {*NEGATIVES.values(), other.positive}


def test_a_document_with_the_passage_id_of_a_positive_is_no_negative():
    corpus = {**NEGATIVES, "answer": "red green as it was said in an older edition"}
    assert drawn(corpus=corpus) == set(NEGATIVES.values())
    assert drawn([Pair(QUERY, ANSWER)], corpus) == set(corpus.values())


def test_without_a_corpus_negatives_are_positives_of_other_passages():
    pairs = [
        PAIR,
        Pair("one", "red green one", "other"),
        Pair("two", "red green two", "answer"),
        Pair("three", "red 3"),
    ]
    assert drawn(pairs, None) == {"red green one", "red 3"}


@pytest.mark.parametrize(
    "near",
    [ANSWER.upper(), f"{ANSWER}. And more.", ANSWER[: -len(" looks like today")]],
    ids=["case", "around", "part"],
)
def test_a_near_duplicate_of_a_positive_is_no_negative_whatever_its_score(near: str):
    assert drawn(corpus={**NEGATIVES, "near": near}, margin=None) == set(NEGATIVES.values())


def test_what_scores_nearly_as_high_as_the_positive_is_no_negative_unless_any_score_will_do():
    corpus = {**NEGATIVES, "rival": "blue red green and nothing else"}
    assert drawn(corpus=corpus, margin=0.05) == set(NEGATIVES.values())
    assert drawn(corpus=corpus, margin=0.9) == set()
    assert drawn(corpus=corpus, margin=None) == set(corpus.values())


def test_the_limit_is_of_the_positives_score_and_not_of_the_best():
    pair = Pair(QUERY, "blue red stone that was seen nowhere else")
    corpus = {**NEGATIVES, "best": ANSWER, "low": "green grass"}
    assert set(mined([pair], corpus, margin=0.2)[0].documents[1:]) == {"green grass"}


def test_a_positive_beyond_the_depth_has_no_negatives_unless_any_score_will_do():
    pair = Pair(QUERY, "red " + "and so on with many other words " * 3)
    corpus = {**NEGATIVES, "positive": pair.positive, "low": "green grass"}
    assert mined([pair], corpus, depth=8, n_negatives=8)[0].documents == (pair.positive,)
    every = mined([pair], corpus, depth=8, n_negatives=8, margin=None)[0].documents
    assert set(every[1:]) == set(NEGATIVES.values())


def test_a_positive_that_the_corpus_lacks_is_never_a_negative_of_another_query():
    other = Pair("yellow", "red green yellow that is not in the corpus")
    assert drawn([PAIR, other]) == set(NEGATIVES.values())


def test_equal_texts_of_a_corpus_are_one_negative():
    assert drawn(corpus={**NEGATIVES, "twin": NEGATIVES["n0"]}) == set(NEGATIVES.values())


def test_every_document_that_is_left_is_drawn_about_as_often():
    examples = mined([PAIR] * 200, n_negatives=2)
    counts = Counter(text for example in examples for text in example.documents[1:])
    # 50 expected; six standard deviations of a binomial draw
    assert set(counts) == set(NEGATIVES.values())
    assert all(13 < count < 87 for count in counts.values())


def test_equal_seeds_draw_equal_negatives_and_another_seed_others():
    pairs = [PAIR] * 10
    assert mined(pairs, n_negatives=3, seed=5) == mined(pairs, n_negatives=3, seed=5)
    assert mined(pairs, n_negatives=3, seed=5) != mined(pairs, n_negatives=3, seed=6)


def test_there_is_an_example_for_each_pair_in_order_and_the_complete_ones_are_told_apart():
    lonely = Pair("ultramarine", "ultramarine is a pigment", "lonely")
    examples = mined([lonely, PAIR, lonely], n_negatives=3, depth=4, margin=0.9)
    assert [(example.query, example.documents[0]) for example in examples] == [
        (pair.query, pair.positive) for pair in (lonely, PAIR, lonely)
    ]
    examples = mined(
        [lonely, PAIR, lonely], {**NEGATIVES, "l": "ultramarine blue"}, n_negatives=8, depth=9, margin=0.05
    )
    full = complete(examples, 8)
    assert full == [examples[1]]
    assert len(full[0].documents) == 9


def test_progress_is_told_and_ends_at_the_number_of_pairs():
    told: list[tuple[str, int, int | None]] = []
    mined([PAIR] * 70, progress=lambda *each: told.append(each))
    assert [each for each in told if each[0] == "mine"] == [("mine", 64, 70), ("mine", 70, 70)]
    assert any(stage == "index" for stage, _, _ in told)


def test_an_interrupt_leaves_nothing_in_the_folder(tmp_path: Path):
    def interrupt(stage: str, done: int, total: int | None) -> None:
        if stage == "mine":
            assert [path.name.startswith("colbert-rag-mining-") for path in tmp_path.iterdir()] == [True]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mined(folder=tmp_path, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pairs": []}, "no pair"),
        ({"n_negatives": 0}, "found n_negatives=0 and depth=50"),
        ({"n_negatives": 60}, "found n_negatives=60 and depth=50"),
        ({"margin": 1.0}, r"found 1\.0"),
        ({"margin": -0.1}, r"found -0\.1"),
        ({"folder": "/nowhere/at/all"}, "no such folder"),
    ],
)
def test_options_that_cannot_be_are_refused(options, said: str):
    with pytest.raises(InvalidTrainingError, match=said):
        mined(**options)


def test_a_blank_document_of_the_corpus_is_refused():
    with pytest.raises(InvalidDocumentError, match="blank"):
        mined(corpus={**NEGATIVES, "blank": " "})
