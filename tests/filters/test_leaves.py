from __future__ import annotations

import pytest

from colbert_rag.errors import InvalidFilterError
from colbert_rag.filters import And, Between, Compare, Exists, In, Not, Or
from colbert_rag.filters.leaves import all_of, any_of, between, compare, exists, in_range


def test_none_is_the_absence_of_the_field():
    missing = Not(Exists("f"))
    assert compare("f", "eq", None, "filter") == missing
    assert all_of("f", [1, None], "filter") == And((Compare("f", "eq", 1), missing))
    assert any_of("f", [None], "filter") == Or((In("f", ()), missing))
    assert exists("f", False, "filter") == missing


def test_without_values_nothing_can_be_found():
    assert all_of("f", [], "filter") == Or(())
    assert any_of("f", [], "filter") == In("f", ())


def test_a_range_is_kept_even_where_it_is_empty():
    assert in_range("f", [3, 2], "filter") == Between("f", 3, 2)
    assert between("f", "b", "a", ("low", "high")) == Between("f", "b", "a")


@pytest.mark.parametrize(("low", "high", "place"), [(None, 1, "low"), (1, None, "high"), (1, "x", "high")])
def test_a_wrong_end_is_named(low, high, place):
    with pytest.raises(InvalidFilterError, match=f"^{place}: "):
        between("f", low, high, ("low", "high"))
