from __future__ import annotations

import enum
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag.filters import attributes
from colbert_rag.filters.attributes import comparable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, []),
        ({"a": 1, "b": "x"}, [("a", 1), ("b", "x")]),
        ({"a": {"b": 1}}, [("a.b", 1)]),
        ({"a.b": 1}, [("a.b", 1)]),
        ({"a": {"b": 1}, "a.b": 1}, [("a.b", 1)]),
        ({"a": {"b.c": {"d": 1}}}, [("a.b.c.d", 1)]),
        ({"a": [1, 2, 1]}, [("a", 1), ("a", 2)]),
        ({"a": [1, [2, [3]], {"b": [4, {"c": 5}]}]}, [("a", 1), ("a", 2), ("a", 3), ("a.b", 4), ("a.b.c", 5)]),
        ({"a": None, "b": [None], "c": {}, "d": [], "e": {"f": None}}, []),
        ({"a": [True, 1, 1.0, "1"]}, [("a", 1), ("a", "1")]),
        ({"a": [0, -0.0, False]}, [("a", 0)]),
        ({"": 1, "x": {"": 2}}, [("", 1), ("x.", 2)]),
        ({"": {"b": 1}}, [(".b", 1)]),
        ({"a": ""}, [("a", "")]),
    ],
)
def test_metadata_flattens_to_names_and_values(metadata, expected):
    assert attributes(metadata) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, 1),
        (False, 0),
        (7, 7),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, 2.0**63),
        (-(2**63) - 1, -(2.0**63)),
        (10**400, math.inf),
        (-(10**400), -math.inf),
        (1.5, 1.5),
        (np.float64(1.5), 1.5),
        ("x", "x"),
        (np.str_("x"), "x"),
        (enum.Enum("Colour", {"RED": "red"}, type=str).RED, "red"),
        (enum.IntEnum("Size", {"BIG": 3}).BIG, 3),
    ],
)
def test_a_comparable_value_is_a_plain_str_float_or_int_of_64_bits(value, expected):
    found = comparable(value)
    assert found == expected
    assert type(found) is type(expected)


def naive(value, path=()):
    """Every scalar below a value with its path of keys."""
    if isinstance(value, dict):
        return [pair for key in value for pair in naive(value[key], (*path, key))]
    if isinstance(value, list):
        return [pair for item in value for pair in naive(item, path)]
    return [] if value is None else [(".".join(path), value)]


@settings(derandomize=True, deadline=None)
@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_attributes_are_every_scalar_below_its_keys_and_survive_storage(metadata):
    found = attributes(metadata)
    assert set(found) == {(name, comparable(value)) for name, value in naive(metadata)}
    assert len(found) == len(set(found))
    again = attributes(json.loads(json.dumps(metadata)))
    assert [(name, type(value), value) for name, value in again] == [(n, type(v), v) for n, v in found]
