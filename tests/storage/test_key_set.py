from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from colbert_rag.storage.key_set import KeySet

KEYS = st.integers(-3_000, 3_000) | st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.lists(KEYS)), st.lists(KEYS))
def test_it_holds_what_was_put_into_it_and_nothing_else(put, asked):
    found, expected = KeySet(), set()
    for keys in put:
        found.update(keys)
        expected.update(keys)
    around = [key + step for key in expected for step in (-1, 0, 1)]
    for key in asked + around:
        assert (key in found) == (key in expected)


def test_a_hundred_thousand_keys_of_a_stream_take_less_than_a_byte_each():
    found = KeySet()
    found.update(range(1, 100_001))
    numbers = found._bits.values()
    assert sys.getsizeof(found._bits) + sum(map(sys.getsizeof, numbers)) < 100_000
