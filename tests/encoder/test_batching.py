from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colbert_rag.encoder.batching import plan_batches, run_with_backoff


@settings(deadline=None, max_examples=50)
@given(lengths=st.lists(st.integers(1, 600), max_size=80), budget=st.integers(1, 2_000))
def test_batches_hold_each_sequence_once_within_the_budget(lengths, budget):
    batches = plan_batches(lengths, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_batches_hold_sequences_of_like_length():
    assert plan_batches([10, 500, 11, 490, 12], budget=1_000) == [[1, 3], [4, 2, 0]]


def sequences(*lengths):
    return [np.arange(length) for length in lengths]


def test_batch_that_does_not_fit_is_halved_and_keeps_its_order():
    calls = []

    def run(batch):
        calls.append(len(batch))
        if len(batch) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return [len(ids) for ids in batch]

    assert run_with_backoff(sequences(5, 4, 3, 2, 1), run) == [5, 4, 3, 2, 1]
    assert calls == [5, 2, 3, 1, 2]


@pytest.mark.parametrize(
    "error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError(), "OutOfMemoryError"]
)
def test_single_window_that_does_not_fit_is_reported_with_what_to_do(error):
    import torch

    error = torch.OutOfMemoryError("CUDA out of memory.") if isinstance(error, str) else error

    def run(batch):
        raise error

    with pytest.raises(type(error), match=r"one window of 700 tokens\. Set document_length") as caught:
        run_with_backoff(sequences(700), run)
    assert caught.value.__cause__ is error


def test_other_runtime_errors_pass_unchanged_and_are_not_tried_again():
    calls = []

    def run(batch):
        calls.append(batch)
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match=r"^shape mismatch$"):
        run_with_backoff(sequences(1, 1), run)
    assert len(calls) == 1
