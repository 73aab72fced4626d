from __future__ import annotations

import random

from colbert_rag.training.examples import Example
from colbert_rag.training.topics import topics_of

# the tiny model's tokens are letters: each topic has its own
TOPICS = (("bac", "cab", "abb"), ("def", "fed", "eff"), ("ghi", "hig", "igg"))


def examples(n=60):
    """Of each topic in turn, all with words in common."""
    rng = random.Random(4)
    rows = []
    for position in range(n):
        words = rng.choices(TOPICS[position % 3], k=4)
        rows.append(Example(f"the {words[0]}", (f"the cat {' '.join(words[1:])} .",)))
    return rows


def test_examples_with_rare_words_in_common_are_one_topic(make_model):
    found = topics_of(examples(), make_model(), 9, seed=0)
    first, second, third = (set(found[start::3]) for start in range(3))
    assert not first & second
    assert not second & third
    assert not third & first


def test_equal_seeds_give_equal_topics(make_model):
    model = make_model()
    assert topics_of(examples(), model, 7, seed=1) == topics_of(examples(), model, 7, seed=1)


def test_without_topics_all_are_in_one(make_model):
    assert topics_of(examples(4), make_model(), 0, seed=0) == [0] * 4


def test_more_topics_than_examples_and_examples_without_a_token_are_possible(make_model):
    found = topics_of([*examples(3), Example(" ", (" ",))], make_model(), 9, seed=0)
    assert len(found) == 4
