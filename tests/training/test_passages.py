from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag.training.pairs import Pair
from colbert_rag.training.passages import components, group_texts, hold_out


def test_texts_of_one_id_and_ids_of_one_text_are_one_passage():
    pairs = [Pair("a", "one", "1"), Pair("b", "one, longer", "1"), Pair("c", "one", "2"), Pair("d", "other")]
    groups = group_texts(pairs, {"2": "one, again", "3": "third"})
    assert groups["one"] == groups["one, longer"] == groups["one, again"]
    assert len(set(groups.values())) == 3


@given(st.lists(st.lists(st.integers(0, 8), max_size=3), max_size=12))
@settings(deadline=None)
def test_components_are_those_of_a_search_through_shared_keys(items):
    found = components(items)
    for start in range(len(items)):
        reached, frontier = {start}, [start]
        while frontier:
            keys = set(items[frontier.pop()])
            new = {i for i, other in enumerate(items) if keys & set(other)} - reached
            reached |= new
            frontier += new
        assert {i for i, number in enumerate(found) if number == found[start]} == reached


def test_held_out_pairs_share_no_passage_and_no_query_with_the_others():
    pairs = [Pair(f"q{n % 23}", f"text {n % 31}", f"p{n // 2}" if n % 5 else None) for n in range(60)]
    kept, held_out = hold_out([*pairs, *(Pair(f"own {n}", f"own text {n}") for n in range(30))], 10, seed=3)
    assert len(held_out) == 10
    assert len(kept) == 80
    assert not {pair.query for pair in kept} & {pair.query for pair in held_out}
    groups = group_texts([*kept, *held_out])
    assert not {groups[pair.positive] for pair in kept} & {groups[pair.positive] for pair in held_out}


def test_pairs_of_one_passage_are_all_kept_when_they_are_too_many():
    pairs = [Pair(f"q{n}", "the same") for n in range(9)]
    assert hold_out(pairs, 5, seed=0) == (pairs, [])
