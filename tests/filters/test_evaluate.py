"""What every kind of condition means: written by hand, held against both evaluators."""

from __future__ import annotations

import pytest

from colbert_rag import Document
from colbert_rag.filters import And, Between, Compare, Exists, HasId, HasRef, In, Not, Or, matches

METADATA = {
    "a": {"f": 1},
    "b": {"f": 2.5},
    "c": {"f": True},
    "d": {"f": "1"},
    "e": {"f": "Beta"},
    "g": {"f": [1, 7, "beta"]},
    "h": {"f": {"g": 1}},
    "i": {"f.g": 1},
    "j": {"f": None},
    "k": {},
    "l": {"f": []},
    "m": {"f": [[2], {"g": 9}]},
    "n": {"f": "STRASSE"},
    "p": {"f": "Straße"},
    "o": {"fg": 1, "f/": 1, "f-": 1, "F": 1},
}
REFS = {"a": "r", "b": "s"}
DOCUMENTS = [Document(id_, "text", metadata, ref_id=REFS.get(id_)) for id_, metadata in METADATA.items()]
EVERY = set(METADATA)

TRUTH = [
    (Compare("f", "eq", 1), "acg"),
    (Compare("f", "eq", 1.0), "acg"),
    (Compare("f", "eq", True), "acg"),
    (Compare("f", "eq", "1"), "d"),
    (Compare("f", "eq", "beta"), "g"),
    (Compare("f", "eq", 2), "m"),
    (Compare("f", "eq", 3), ""),
    (Compare("f.g", "eq", 1), "hi"),
    (Compare("f.g", "eq", 9), "m"),
    (Compare("f", "eq", None), "jklo"),
    (Compare("f.g", "eq", None), "abcdegjklnop"),
    (Compare("f", "gt", 1), "bgm"),
    (Compare("f", "gte", 1), "abcgm"),
    (Compare("f", "lt", 2), "acg"),
    (Compare("f", "lte", 2), "acgm"),
    (Compare("f", "gt", "1"), "egnp"),
    (Compare("f", "gte", "1"), "degnp"),
    (Compare("f", "gt", "Beta"), "gnp"),
    (Compare("f", "lt", "Beta"), "d"),
    (Compare("f", "lte", "Beta"), "de"),
    (Compare("f", "gte", ""), "degnp"),
    (Compare("f", "lt", ""), ""),
    (Compare("f", "contains", "et"), "eg"),
    (Compare("f", "contains", "Bet"), "e"),
    (Compare("f", "contains", "1"), "d"),
    (Compare("f", "contains", 1), "acg"),
    (Compare("f", "contains", ""), "degnp"),
    (Compare("f", "contains", "%"), ""),
    (Compare("f", "icontains", "ETA"), "eg"),
    (Compare("f", "icontains", "straße"), "np"),
    (Compare("f", "icontains", "aß"), "np"),
    (Compare("f", "icontains", "STRASSE"), "np"),
    (Compare("f", "contains", "raß"), "p"),
    (Compare("f", "icontains", 7), "g"),
    (Compare("f", "icontains", "7"), ""),
    (Between("f", 2, 3), "bm"),
    (Between("f", 2, 6), "bm"),
    (Between("f", 7, 7), "g"),
    (Between("f", 3, 2), ""),
    (Between("f", "A", "C"), "e"),
    (In("f", (1, "1")), "acdg"),
    (In("f", ("Beta", 2.5, 99)), "be"),
    (In("f", ()), ""),
    (In("f", (2.5, None)), "bjklo"),
    (In("f", (None,)), "jklo"),
    (Exists("f"), "abcdeghimnp"),
    (Exists("f.g"), "him"),
    (Exists("F"), "o"),
    (Exists("x"), ""),
    (HasId(("a", "zz", "e")), "ae"),
    (HasId(()), ""),
    (HasRef(("r", "q")), "a"),
    (HasRef(()), ""),
    (HasRef((None,)), "cdeghijklmnop"),
    (HasRef((None, "r")), "acdeghijklmnop"),
    (Not(HasRef(("r",))), "bcdeghijklmnop"),
    (Not(Compare("f", "eq", 1)), "bdehijklmnop"),
    (Not(Compare("f", "gt", 1)), "acdehijklnop"),
    (Not(Not(Exists("x"))), ""),
    (And(()), "abcdeghijklmnop"),
    (Or(()), ""),
    (And((Compare("f", "gte", 1), Compare("f", "contains", "et"))), "g"),
    (Or((Compare("f", "eq", 2.5), And((HasId(("a", "b", "k")), Not(Exists("f")))))), "bk"),
    (Not(Or((Exists("f"), HasId(("k",))))), "jlo"),
]


@pytest.mark.parametrize(("condition", "expected"), TRUTH, ids=str)
def test_a_condition_holds_for_the_documents_that_its_definition_names(chosen_ids, condition, expected):
    assert chosen_ids(condition, DOCUMENTS) == set(expected)


def test_the_table_names_documents_that_exist():
    assert all(set(expected) <= EVERY for _, expected in TRUTH)


def test_ranges_on_two_elements_differ_from_one_range(chosen_ids):
    """7 is at least 2 and 1 is at most 6, but neither lies between."""
    ends = And((Compare("f", "gte", 2), Compare("f", "lte", 6)))
    assert "g" in chosen_ids(ends, DOCUMENTS)
    assert "g" not in chosen_ids(Between("f", 2, 6), DOCUMENTS)


@pytest.mark.parametrize(
    ("low", "high"), [("z", "é"), ("\uffff", "😀"), ("a", "a\x00"), ("Z", "a"), ("", "\x00"), ("9", "a"), ("10", "9")]
)
def test_strings_are_ordered_by_code_point(chosen_ids, low, high):
    documents = [Document("low", "t", {"f": low}), Document("high", "t", {"f": high})]
    assert chosen_ids(Compare("f", "gt", low), documents) == {"high"}
    assert chosen_ids(Compare("f", "lt", high), documents) == {"low"}


@pytest.mark.parametrize(
    ("small", "large"), [(2**53, 2**53 + 1), (float(2**53), 2**53 + 1), (2**63 - 1, 2**63), (-0.0, 5e-324)]
)
def test_numbers_are_compared_exactly(chosen_ids, small, large):
    documents = [Document("small", "t", {"f": small}), Document("large", "t", {"f": large})]
    assert chosen_ids(Compare("f", "gt", small), documents) == {"large"}
    assert chosen_ids(Compare("f", "eq", large), documents) == {"large"}


def test_ints_beyond_64_bits_are_compared_as_floats(chosen_ids):
    documents = [Document("big", "t", {"f": 2**64 + 1}), Document("huge", "t", {"f": 10**400})]
    assert chosen_ids(Compare("f", "eq", 2**64), documents) == {"big"}
    assert chosen_ids(Compare("f", "gt", 2**64), documents) == {"huge"}
    assert chosen_ids(Compare("f", "eq", 10**500), documents) == {"huge"}


def test_a_nul_ends_no_text(chosen_ids):
    documents = [Document("nul", "t", {"f": "Ab\x00Cd"}), Document("short", "t", {"f": "Ab"})]
    assert chosen_ids(Compare("f", "contains", "\x00Cd"), documents) == {"nul"}
    assert chosen_ids(Compare("f", "icontains", "b\x00C"), documents) == {"nul"}
    assert chosen_ids(Compare("f", "eq", "Ab"), documents) == {"short"}


def test_names_are_taken_as_they_are(chosen_ids):
    names = ["a'b", 'a"b', "$a", "a b", "a\x00", "é", "%", "_", "?", "?1", ":a", "", ".", "..", "a/b"]
    documents = [Document(str(n), "t", {name: 1}) for n, name in enumerate(names)]
    for n, name in enumerate(names):
        assert chosen_ids(Compare(name, "eq", 1), documents) == {str(n)}


def test_matches_is_a_bool():
    assert matches(Compare("f", "eq", 1), DOCUMENTS[0]) is True
    assert matches(Compare("f", "eq", 2), DOCUMENTS[0]) is False
