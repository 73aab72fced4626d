from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag.kernels import reference
from colbert_rag.storage.lists import build_lists

K = 9


def decoded(offsets, packed):
    """The lists back, one byte after another."""
    lists = []
    for start, end in pairwise(offsets):
        members, document, step, shift = [], 0, 0, 0
        for byte in packed[start:end].tolist():
            step |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                document += step
                members.append(document)
                step = shift = 0
        assert shift == 0
        lists.append(members)
    return lists


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, K - 1), min_size=1, max_size=20), max_size=300), st.sampled_from(["u2", "u4"]))
def test_lists_equal_the_reference(documents, dtype):
    offsets = np.concatenate([[0], np.cumsum([len(d) for d in documents])]).astype(np.int64)
    ids = np.array([c for document in documents for c in document], dtype)
    list_offsets, packed = build_lists(ids, offsets, K)
    assert (list_offsets.dtype, packed.dtype) == (np.int64, np.uint8)
    assert len(list_offsets) == K + 1
    assert list_offsets[-1] == len(packed)
    expected = [members.tolist() for members in reference.inverted_lists(ids, offsets, K)]
    assert decoded(list_offsets, packed) == expected


@pytest.mark.parametrize("gap", [127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_gaps_take_as_many_bytes_as_they_need(gap):
    ids = np.zeros(gap + 1, np.uint16)
    ids[[0, gap]] = 1
    list_offsets, packed = build_lists(ids, np.arange(gap + 2), 2)
    # the first document is position 0, one byte; a byte holds seven bits of a gap
    assert len(packed[list_offsets[1] :]) == 1 + -(-gap.bit_length() // 7)
    assert decoded(list_offsets[1:], packed) == [[0, gap]]
    members = list_offsets[1] - list_offsets[0]
    assert members == gap - 1
