from __future__ import annotations

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag.storage.spans import pack_spans, unpack_spans

TEXT = (
    "Late interaction keeps one vector per token (ColBERT, 2020), so a document's score is the sum, over the tokens "
    "of a query, of the best match. It's exact; it isn't cheap: 1,024 tokens × 128 dimensions = 256 KiB at 16 bits!\n\n"
    "Residual compression (ColBERTv2) brings this down to some 20–36 bytes per vector — hyper-parameters unchanged."
)


@st.composite
def span_arrays(draw):
    """Spans of any tokens: gaps, overlaps, jumps back, empty ones, long ones."""
    small = st.integers(0, 40)
    number = st.one_of(small, st.integers(0, 2**31 - 1))
    pairs = draw(st.lists(st.tuples(number, number), max_size=60))
    rising = draw(st.lists(st.tuples(small, small), max_size=60))
    place, spans = 0, []
    for gap, length in rising:
        spans.append((place + gap, place + gap + length))
        place += gap + length
    spans += [(min(pair), max(pair)) for pair in pairs]
    return np.array(spans, np.int32).reshape(-1, 2)


@settings(deadline=None)
@given(span_arrays())
def test_unpacking_inverts_packing(spans):
    packed, escapes = pack_spans(spans)
    assert len(packed) == len(spans)
    assert packed.dtype == np.uint8
    assert escapes.dtype == np.int32
    np.testing.assert_array_equal(unpack_spans(packed, escapes), spans)


def test_tokens_of_running_text_take_about_one_byte():
    spans = np.array([m.span() for m in re.finditer(r"\w+|[^\w\s]", TEXT)], np.int32)
    packed, escapes = pack_spans(spans)
    assert packed.nbytes + escapes.nbytes < 1.1 * len(spans)
    np.testing.assert_array_equal(unpack_spans(packed, escapes), spans)


def test_only_gaps_above_six_and_lengths_above_31_are_escaped():
    spans = np.array([[6, 37], [43, 43], [50, 51], [51, 83], [83, 84]], np.int32)
    _, escapes = pack_spans(spans)
    assert escapes.tolist() == [[2, 50, 51], [3, 51, 83]]


@settings(deadline=None)
@given(st.lists(span_arrays().filter(len), min_size=1, max_size=6))
def test_documents_after_one_another_are_unpacked_as_each_alone(documents):
    packed, escapes, passed = [], [], 0
    for spans in documents:
        part, rows = pack_spans(spans)
        packed.append(part)
        escapes.append(rows + np.array([passed, 0, 0], np.int32))
        passed += len(part)
    counts = [len(part) for part in packed]
    found = unpack_spans(np.concatenate(packed), np.concatenate(escapes), counts)
    np.testing.assert_array_equal(found, np.concatenate(documents))
