from __future__ import annotations

import random

import pytest

from colbert_rag.training.batches import ApartBatchSampler, keep_apart
from colbert_rag.training.examples import Example, from_pairs
from colbert_rag.training.pairs import Pair
from colbert_rag.training.passages import group_texts


def sampler(pairs, examples=None, batch_size=8, seed=0, kinds=None, **options):
    apart = keep_apart(examples or from_pairs(pairs), pairs, group_texts(pairs), kinds)
    return ApartBatchSampler(apart, batch_size, seed, **options)


def many_of_a_kind(n):
    """Few passages under many ids, and queries that several of them answer."""
    rng = random.Random(5)
    rows = [(rng.randrange(30), rng.randrange(12), rng.randrange(20)) for _ in range(n)]
    return [Pair(f"q{a}", f"text {b}", f"p{c}" if c < 4 else None) for a, b, c in rows]


def with_negatives(pairs):
    rng = random.Random(6)
    texts = sorted({pair.positive for pair in pairs})
    return [Example(pair.query, (pair.positive, *rng.sample(texts, 2))) for pair in pairs]


def batches_of(made, epoch):
    made.set_epoch(epoch)
    return list(made)


@pytest.mark.parametrize("epoch", [0, 1, 2])
@pytest.mark.parametrize("has_negatives", [False, True])
def test_no_batch_holds_an_answer_of_another_of_its_queries(epoch, has_negatives):
    pairs = many_of_a_kind(150)
    examples = with_negatives(pairs) if has_negatives else from_pairs(pairs)
    groups = group_texts(pairs)
    answers = {}
    for pair in pairs:
        answers.setdefault(pair.query, set()).add(groups[pair.positive])
    for batch in batches_of(sampler(pairs, examples), epoch):
        for one in batch:
            foreign = [text for other in batch if other != one for text in examples[other].documents]
            assert not answers[examples[one].query] & {groups[text] for text in foreign}


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
def test_every_example_comes_once_an_epoch_in_equally_many_batches(epoch):
    pairs = many_of_a_kind(150)
    made = sampler(pairs)
    batches = batches_of(made, epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(150))
    assert len(batches) == len(made)
    assert all(1 <= len(batch) <= 8 for batch in batches)


def test_epochs_and_seeds_differ_and_equal_seeds_do_not():
    pairs = [Pair(f"q{n}", f"text {n}") for n in range(50)]
    assert batches_of(sampler(pairs), 0) == batches_of(sampler(pairs), 0)
    assert batches_of(sampler(pairs), 0) != batches_of(sampler(pairs), 1)
    assert batches_of(sampler(pairs), 0) != batches_of(sampler(pairs, seed=1), 0)


def test_texts_of_like_length_are_batched_together_or_of_all_lengths():
    pairs = [Pair(f"q{n}", f"{n} " + "x" * (n * 37 % 128) * 9) for n in range(128)]

    def spreads(by_length):
        return [
            max(len(pairs[i].positive) for i in batch) - min(len(pairs[i].positive) for i in batch)
            for batch in batches_of(sampler(pairs, by_length=by_length), 0)
        ]

    assert len(spreads(True)) == len(spreads(False)) == 16
    # in batches of eight of 128 lengths, neighbours are nine characters apart
    assert max(spreads(True)) <= 9 * 8 + 3
    assert min(spreads(False)) > 9 * 30


def test_a_batch_is_of_one_kind_but_where_a_kind_ends():
    pairs = [Pair(f"q{n}", f"text {n}") for n in range(120)]
    kinds = [("a" if n % 2 else None, n * 7 % 3) for n in range(120)]
    assert len(set(kinds)) == 6
    mixed = [batch for batch in batches_of(sampler(pairs, kinds=kinds), 0) if len({kinds[i] for i in batch}) > 1]
    assert len(mixed) <= 5
    assert sorted(i for batch in batches_of(sampler(pairs, kinds=kinds), 1) for i in batch) == list(range(120))
