from __future__ import annotations

import numpy as np
import pytest
import torch

from colbert_rag.kernels import reference
from colbert_rag.kernels.cuda import approximate
from colbert_rag.kernels.cuda.launching import ROWS

K = 50


def scored(table, ids, documents):
    out = torch.full((len(table), documents.count), -7, dtype=torch.int32)
    approximate.approximate_scores(torch.from_numpy(table), torch.from_numpy(ids), documents, out)
    return out.numpy()


@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
@pytest.mark.parametrize(("n_blocks", "n"), [(1, 1), (3, 5), (2, 7)])
def test_approximate_scores_equal_the_reference(rng, documents, by_reference, kind, n_blocks, n):
    here = documents(n)
    ids = rng.integers(0, K, int(here.ends.max())).astype(kind)
    table = rng.integers(0, 256, (n_blocks, K, ROWS), np.uint8)
    expected = by_reference(
        lambda b, *bounds: reference.approximate_scores(table[b : b + 1], ids, *bounds), here, n_blocks
    )
    np.testing.assert_array_equal(scored(table, ids, here), expected)


def test_ids_above_half_of_their_range_are_not_negative(rng, documents):
    table = np.zeros((1, 65_536, ROWS), np.uint8)
    table[0, 65_535] = 3
    assert scored(table, np.full(63, 65_535, np.uint16), documents(1)).tolist() == [[3 * ROWS]]


def test_an_empty_document_has_a_score_of_zero(rng, documents):
    here = documents(2, (3, 0))
    found = scored(rng.integers(1, 256, (1, K, ROWS), np.uint8), np.zeros(3, np.uint16), here)
    assert sorted((found == 0).tolist()[0]) == [False, True]


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_a_score_table_equals_the_reference(rng, n_blocks):
    """Rounding may fall on two sides of a step."""
    scores = rng.uniform(-1, 1, (K, n_blocks * ROWS)).astype(np.float32)
    found = approximate.score_table(torch.from_numpy(scores), torch.full((n_blocks * ROWS,), 0.8)).numpy()
    expected = reference.score_table(scores, 0.8, ROWS)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_columns_without_a_token_add_the_same_to_every_document():
    table = approximate.score_table(torch.zeros((K, ROWS)), torch.full((ROWS,), 0.8))
    assert (table == table[0, 0, 0]).all()
