from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag import errors
from colbert_rag.filters import And, Between, Compare, Exists, HasId, HasRef, In, Not, Or, parse

SCALARS = st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
MAYBE = st.none() | SCALARS
CONDITIONS = st.recursive(
    st.builds(Compare, st.text(max_size=2), st.just("eq"), MAYBE)
    | st.builds(Compare, st.text(max_size=2), st.sampled_from(["lt", "icontains"]), SCALARS)
    | st.builds(In, st.text(max_size=2), st.lists(MAYBE, max_size=3).map(tuple))
    | st.builds(HasId, st.lists(st.text(max_size=2), max_size=2).map(tuple)),
    lambda inner: st.builds(Not, inner) | st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)


@settings(derandomize=True, deadline=None)
@given(CONDITIONS)
def test_parsing_again_changes_nothing_and_the_result_is_hashable(condition):
    once = parse(condition)
    assert parse(once) == once
    assert hash(parse(once)) == hash(once)
    assert "None" not in repr(once).replace("'None'", "")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Compare("f", "eq", None), Not(Exists("f"))),
        (Compare("f", "lt", True), Compare("f", "lt", 1)),
        (Compare("f", "eq", 2**64), Compare("f", "eq", 2.0**64)),
        (In("f", (None, "x")), Or((In("f", ("x",)), Not(Exists("f"))))),
        (In("f", ["x", 1]), In("f", ("x", 1))),
        (Between("f", False, 2), Between("f", 0, 2)),
        (And([Exists("f"), Or([])]), And((Exists("f"), Or(())))),
        (Not(Compare("f", "eq", None)), Not(Not(Exists("f")))),
        (HasId(["a"]), HasId(("a",))),
        (HasRef({"a"}), HasRef(("a",))),
    ],
    ids=str,
)
def test_a_condition_comes_out_as_it_is_evaluated(condition, expected):
    found = parse(condition)
    assert found == expected
    assert repr(found) == repr(expected)


UNKNOWN = "Allowed here: contains, eq, gt, gte, icontains, lt, lte."


@pytest.mark.parametrize(
    ("given_filter", "message"),
    [
        (
            [1],
            'filter: expected a mapping such as {"lang": "en"} or a condition of colbert_rag.filters, found list.',
        ),
        (
            "year > 3",
            'filter: expected a mapping such as {"lang": "en"} or a condition of colbert_rag.filters, '
            'found the str "year > 3".',
        ),
        (
            None,
            'filter: expected a mapping such as {"lang": "en"} or a condition of colbert_rag.filters, found None.',
        ),
        (Compare("f", "ne", 1), f'filter.op: unknown operator "ne". {UNKNOWN}'),
        (Compare("f", "GTE", 1), f'filter.op: unknown operator "GTE". {UNKNOWN} Did you mean gte?'),
        (Compare("f", ["eq"], 1), f"filter.op: unknown operator list. {UNKNOWN}"),
        (Compare(3, "eq", 1), "filter.field: expected a str, found int."),
        (
            Compare("f", "gt", None),
            "filter.value: expected a str or a number, found None. To find missing values use $exists.",
        ),
        (Exists(None), "filter.field: expected a str, found None."),
        (In("f", "abc"), 'filter.values: expected a list, found the str "abc". Write [value], or list(values).'),
        (
            In("f", (1, b"x")),
            "filter.values[1]: expected a str or a number, found bytes. Decode it: value.decode().",
        ),
        (Between("f", 1, "x"), 'filter.high: expected two numbers or two str, found int and the str "x".'),
        (
            Between("f", None, 1),
            "filter.low: expected a str or a number, found None. To find missing values use $exists.",
        ),
        (HasId("abc"), 'filter.ids: expected a list, found the str "abc". Write [value], or list(values).'),
        (HasRef((1,)), "filter.refs[0]: expected a str, found int."),
        (
            And((Exists("f"), Not({"a": 1}))),
            "filter.parts[1].part: expected a condition of colbert_rag.filters, found dict.",
        ),
        (And(Exists("f")), None),
        (Or((None,)), "filter.parts[0]: expected a condition of colbert_rag.filters, found None."),
    ],
    ids=str,
)
def test_a_wrong_condition_is_refused_with_its_place(given_filter, message):
    with pytest.raises(errors.InvalidFilterError) as caught:
        parse(given_filter)
    expected = message or "filter.parts: expected a list, found colbert_rag.filters.tree.Exists. "
    assert str(caught.value).startswith(expected)
    assert isinstance(caught.value, ValueError)
