from __future__ import annotations

import numpy as np
import pytest
import torch

from colbert_rag.codec.grid import BITS, grid
from colbert_rag.kernels import reference
from colbert_rag.kernels.cuda import residual
from colbert_rag.kernels.cuda.launching import ROWS, Documents

K = 50


class Case:
    """A query of ``n_blocks`` blocks and tokens that any codec could have written."""

    def __init__(self, rng, n_tokens, n_blocks, dim, bits, kind=np.uint16, on_trellis=True):
        self.bits, self.grid = bits, grid(bits, dim, on_trellis=on_trellis)
        self.n_blocks, n_rows = n_blocks, n_blocks * ROWS
        self.query = rng.integers(-8191, 8192, (n_rows, dim)).astype(np.int16)
        self.query.flat[:2] = -8191, 8191
        self.scale = rng.uniform(1e-5, 1e-4, n_rows).astype(np.float32)
        self.near = rng.uniform(-1, 1, (K, n_rows)).astype(np.float32)
        codes = rng.integers(0, 256, (n_tokens, -(-dim * bits // 8)), np.uint8)
        self.tokens = rng.integers(0, K, n_tokens).astype(kind), codes, rng.integers(0, 256, (n_tokens, 2), np.uint8)

    def scored(self, documents, blocks_per_query=1):
        integers = torch.from_numpy(self.query.astype(np.int32))
        coded = residual.code_query(integers, 8 // self.bits, self.tokens[1].shape[1])
        query = residual.CodedQuery(coded, torch.from_numpy(self.scale), torch.from_numpy(self.near))
        words = residual.level_words(self.grid.byte_levels)
        levels = residual.Levels(*(torch.from_numpy(part) for part in (words, self.grid.scales, self.grid.norms)))
        tokens = residual.CodedTokens(*(torch.from_numpy(part) for part in self.tokens))
        out = torch.full((self.n_blocks, documents.count), torch.nan)
        residual.residual_scores(query, levels, tokens, documents, blocks_per_query, out)
        return out.numpy()

    def expected(self, block, starts, ends):
        rows = slice(block * ROWS, (block + 1) * ROWS)
        query = self.query[rows], self.scale[rows], np.ascontiguousarray(self.near[:, rows])
        table = np.zeros((1, K, ROWS), np.uint8)
        return reference.residual_scores(*query, table, self.tokens, (starts, ends), self.grid, self.bits)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("dim", "n_blocks", "n"), [(128, 3, 5), (100, 1, 3), (48, 2, 1), (7, 1, 2)])
def test_residual_scores_equal_the_reference(rng, documents, by_reference, bits, dim, n_blocks, n):
    here = documents(n)
    case = Case(rng, int(here.ends.max()), n_blocks, dim, bits)
    expected = by_reference(case.expected, here, n_blocks)
    np.testing.assert_allclose(case.scored(here), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("bits", [1, 2])
def test_codes_of_earlier_versions_are_read_without_a_trellis(rng, documents, by_reference, bits):
    here = documents(2)
    case = Case(rng, int(here.ends.max()), 1, 96, bits, on_trellis=False)
    np.testing.assert_allclose(case.scored(here), by_reference(case.expected, here, 1), rtol=1e-6, atol=1e-5)


def test_many_centroids_have_wide_ids(rng, documents, by_reference):
    here = documents(2)
    case = Case(rng, int(here.ends.max()), 1, 64, 4, kind=np.uint32)
    np.testing.assert_allclose(case.scored(here), by_reference(case.expected, here, 1), rtol=1e-6, atol=1e-5)


def test_equal_documents_get_equal_scores_wherever_they_lie(rng, documents):
    case = Case(rng, 33 * 4, 2, 128, 4)
    for part in case.tokens:
        part[:] = np.concatenate([part[:33]] * 4)
    found = case.scored(documents(4, (33,)))
    assert (found == found[:, :1]).all()


def test_each_query_may_have_documents_of_its_own(rng, documents):
    everything = documents(5)
    case = Case(rng, int(everything.ends.max()), 4, 48, 2)
    together = case.scored(everything, blocks_per_query=2)
    chosen = torch.tensor([[3, 0, 1], [4, 4, 2]])
    own = Documents(everything.starts[chosen], everything.ends[chosen])
    own.ends[0, 2] = own.starts[0, 2]
    expected = np.stack([together[block][chosen[block // 2]] for block in range(4)])
    expected[:2, 2] = np.nan
    np.testing.assert_array_equal(case.scored(own, blocks_per_query=2), expected)


@pytest.mark.parametrize("per_byte", [1, 2, 4, 8])
def test_two_bytes_hold_every_integer_of_a_query_in_the_order_of_codes(per_byte):
    integers = torch.arange(-8191, 8192, dtype=torch.int32)[: 16 * 1023].view(1023, 16)
    coded = residual.code_query(integers, per_byte, -(-16 // per_byte)).to(torch.int32)
    assert coded.shape == (2, 1023, per_byte, 16 // per_byte)
    again = (128 * coded[0] + coded[1]).transpose(1, 2).reshape(1023, 16)
    assert torch.equal(again, integers)


@pytest.mark.parametrize("bits", BITS)
def test_a_word_holds_the_levels_of_a_byte(bits):
    levels = grid(bits, 64).byte_levels
    words = residual.level_words(levels)
    for place in range(8 // bits):
        np.testing.assert_array_equal((words >> (8 * place)).astype(np.int8), levels[:, place])
