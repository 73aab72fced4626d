from __future__ import annotations

import numpy as np
import pytest
import torch

from colbert_rag.kernels import reference
from colbert_rag.kernels.cuda import dense
from colbert_rag.kernels.cuda.launching import ROWS, Documents

TYPES = [torch.float16, torch.bfloat16, torch.float32]
# with bfloat16 a query keeps 16 bits
TOLERANCE = {torch.float16: 1e-5, torch.bfloat16: 1e-4, torch.float32: 1e-5}


def scored(query, vectors, documents, blocks_per_query=1):
    n_blocks = len(query) // ROWS
    out = torch.full((n_blocks, documents.count), torch.nan)
    parts = dense.query_parts(query, vectors.dtype)
    dense.dense_scores(parts, vectors, documents, blocks_per_query, out)
    return out.numpy()


def arrays(rng, unit_rows, n_rows, documents, dim, dtype):
    n_tokens = int(documents.ends.max()) if documents.count else 1
    # ids of float16 and what it can hold are those of stored vectors
    return torch.from_numpy(unit_rows(n_rows, dim)), torch.from_numpy(unit_rows(n_tokens, dim)).to(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("dim", "n_blocks", "n"), [(128, 5, 5), (96, 2, 3), (48, 1, 1), (7, 3, 2), (260, 2, 2)])
def test_dense_scores_equal_the_reference(rng, unit_rows, documents, by_reference, dtype, dim, n_blocks, n):
    here = documents(n)
    query, vectors = arrays(rng, unit_rows, n_blocks * ROWS, here, dim, dtype)

    def score(block, starts, ends):
        return reference.dot_scores(query[block * ROWS :][:ROWS].numpy(), vectors.float().numpy(), starts, ends)

    expected = by_reference(score, here, n_blocks)
    np.testing.assert_allclose(scored(query, vectors, here), expected, atol=ROWS * TOLERANCE[dtype] / 10)


def test_no_documents_have_no_scores(rng, unit_rows, documents):
    assert scored(*arrays(rng, unit_rows, ROWS, documents(0), 16, torch.float16), documents(0)).shape == (1, 0)


def test_a_long_document_is_scored_whole(rng, unit_rows, documents, by_reference):
    """8,192 tokens, the last of which is the best for each token of the query."""
    here = documents(1, (8_192,))
    query, vectors = arrays(rng, unit_rows, ROWS, here, 64, torch.float16)
    vectors[-1] = query[0].half()
    query[:] = query[0]
    np.testing.assert_allclose(scored(query, vectors, here), [[ROWS]], rtol=1e-3)


def test_rows_without_a_token_add_nothing(rng, unit_rows, documents):
    here = documents(4)
    query, vectors = arrays(rng, unit_rows, ROWS, here, 64, torch.float16)
    query[5:] = 0
    expected = reference.dot_scores(query[:5].numpy(), vectors.float().numpy(), here.starts.numpy(), here.ends.numpy())
    np.testing.assert_allclose(scored(query, vectors, here)[0], expected, atol=1e-5)


def test_equal_documents_get_equal_scores_wherever_they_lie(rng, unit_rows, documents):
    here = documents(5, (33,))
    query, vectors = arrays(rng, unit_rows, 2 * ROWS, here, 128, torch.float16)
    vectors[:] = vectors[:33].repeat(5, 1)
    found = scored(query, vectors, here)
    assert (found == found[:, :1]).all()


def test_each_query_may_have_documents_of_its_own(rng, unit_rows, documents):
    """Two queries of two blocks; an empty document is passed over and its place left alone."""
    everything = documents(5)
    query, vectors = arrays(rng, unit_rows, 4 * ROWS, everything, 48, torch.float16)
    together = scored(query, vectors, everything, blocks_per_query=2)
    chosen = torch.tensor([[3, 0, 1], [4, 4, 2]])
    own = Documents(everything.starts[chosen], everything.ends[chosen])
    own.ends[1, 1] = own.starts[1, 1]
    found = scored(query, vectors, own, blocks_per_query=2)
    expected = np.stack([together[block][chosen[block // 2]] for block in range(4)])
    expected[2:, 1] = np.nan
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_parts_of_a_query_add_up_to_it(unit_rows):
    query = torch.from_numpy(unit_rows(ROWS, 64))
    for dtype, left in ((torch.float16, 2e-7), (torch.bfloat16, 1e-5), (torch.float32, 0)):
        parts = dense.query_parts(query, dtype)
        assert parts.dtype == dtype
        assert (parts.float().sum(dim=0) - query).abs().max() <= left
