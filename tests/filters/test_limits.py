from __future__ import annotations

import pytest

from colbert_rag import errors
from colbert_rag.filters import And, Between, Compare, Exists, HasId, HasRef, In, Not, Or, parse

TOO_DEEP = "filter: nested deeper than 32 levels of and, or, not. Join parts of one kind into one list."


def wrapped(inner, wrap, levels):
    for _ in range(levels):
        inner = wrap(inner)
    return inner


@pytest.mark.parametrize(
    ("leaf", "wrap"),
    [
        (Exists("f"), Not),
        (Exists("f"), lambda inner: And((inner, Exists("g")))),
        (Exists("f"), lambda inner: Or((Exists("g"), inner))),
        ({"f": 1}, lambda inner: {"$not": inner}),
        ({"f": 1}, lambda inner: {"$and": [inner]}),
        ({"f": 1}, lambda inner: {"$or": [{"g": 1}, inner]}),
    ],
)
def test_32_levels_are_allowed_and_33_are_not(leaf, wrap):
    parse(wrapped(leaf, wrap, 32))
    for levels in (33, 34, 5_000):
        with pytest.raises(errors.InvalidFilterError) as caught:
            parse(wrapped(leaf, wrap, levels))
        assert str(caught.value) == TOO_DEEP


def test_levels_that_a_mapping_stands_for_count():
    """``$nor`` is not and or, and entries beside it are joined by and."""
    nor = wrapped({"f": 1}, lambda inner: {"$nor": [inner], "g": 1}, 10)
    parse(nor)
    with pytest.raises(errors.InvalidFilterError, match="deeper"):
        parse({"$nor": [nor], "g": 1})
    operators = wrapped({"$gt": 1}, lambda inner: {"$not": inner}, 32)
    parse({"f": operators})
    with pytest.raises(errors.InvalidFilterError, match="deeper"):
        parse({"f": {"$not": operators}})
    with pytest.raises(errors.InvalidFilterError, match="deeper"):
        parse({"f": wrapped(operators, lambda inner: {"$not": inner}, 5_000)})


def test_a_filter_that_holds_itself_is_refused():
    endless = {}
    endless["$and"] = [endless]
    with pytest.raises(errors.InvalidFilterError, match="deeper"):
        parse(endless)


@pytest.mark.parametrize(
    "leaf",
    [
        *(Compare("f", "eq", 1), Between("f", 1, 2), In("f", ()), Exists("f"), Not(Exists("f"))),
        *(HasId(()), HasRef(()), And(()), Or(())),
    ],
    ids=str,
)
def test_500_comparisons_are_allowed_and_501_are_not(leaf):
    parse(Or((leaf,) * 500))
    with pytest.raises(errors.InvalidFilterError) as caught:
        parse(And((Or((leaf,) * 250), Or((leaf,) * 251))))
    advice = "Many values of one field go into one $in."
    assert str(caught.value) == f"filter: 501 comparisons, at most 500 are allowed. {advice}"


def test_what_an_operator_stands_for_counts():
    parse({"f": {"$all": ["x"] * 500}})
    with pytest.raises(errors.InvalidFilterError, match="501 comparisons"):
        parse({"f": {"$all": ["x"] * 500}, "g": 1})
    with pytest.raises(errors.InvalidFilterError, match="502 comparisons"):
        parse({"$or": [{"f": ["x", None]}] * 251})


@pytest.mark.parametrize(
    ("full", "one_more"),
    [
        (In("f", tuple(range(30_000))), In("f", tuple(range(30_001)))),
        (HasId(("x",) * 30_000), HasId(("x",) * 30_001)),
        (HasRef(("x",) * 30_000), HasRef(("x",) * 30_001)),
        (
            And((In("f", (1,) * 29_997), Between("f", 1, 2), Compare("f", "gt", 1), Exists("f"))),
            And((In("f", (1,) * 29_998), Between("f", 1, 2), Compare("f", "gt", 1), Exists("f"))),
        ),
    ],
    ids=["in", "ids", "refs", "together"],
)
def test_30_000_values_are_allowed_and_one_more_is_not(full, one_more):
    parse(full)
    with pytest.raises(errors.InvalidFilterError) as caught:
        parse(one_more)
    assert str(caught.value) == (
        "filter: 30,001 values, at most 30,000 are allowed. Mark the documents in their metadata and "
        "filter by that mark, or filter with a function of the document."
    )
