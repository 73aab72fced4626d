from __future__ import annotations

import decimal

import numpy as np
import pytest

from colbert_rag.errors import InvalidFilterError
from colbert_rag.filters.checks import found, items, quoted, scalar, unknown_operator


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        (3, "int"),
        ("a\nb", 'the str "a\\nb"'),
        ("x" * 100, f'the str "{"x" * 60}…"'),
        ("\ud800é", 'the str "\\ud800é"'),
        (decimal.Decimal(1), "decimal.Decimal"),
        (np.int64(1), "numpy.int64"),
    ],
)
def test_a_message_shows_the_type_and_a_short_text(value, shown):
    assert found(value) == shown
    found(value).encode()


def test_an_int_too_long_to_print_is_shown_by_its_type():
    assert found(10**5_000) == "int"


def test_quoted_text_fits_into_a_place():
    assert quoted('a"b') == '"a\\"b"'


@pytest.mark.parametrize("value", [[1], (1,), {1}, frozenset({1})])
def test_lists_tuples_and_sets_are_lists(value):
    assert list(items(value, "filter")) == [1]


@pytest.mark.parametrize("value", [np.int64(1), decimal.Decimal(1), object(), np.array(1.0)])
def test_other_kinds_of_numbers_are_refused(value):
    with pytest.raises(InvalidFilterError, match="Convert it first"):
        scalar(value, "filter")


def test_the_closest_operator_is_named_only_without_better_advice():
    assert "Did you mean gte?" in str(unknown_operator("gtee", "filter", ["gte"]))
    assert str(unknown_operator("gtee", "filter", ["gte"], "Other advice.")).endswith("gte. Other advice.")
