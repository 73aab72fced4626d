from __future__ import annotations

import pytest
import torch

from colbert_rag.kernels.cuda import launching


def shared(n):
    return launching.Documents(torch.zeros(n, dtype=torch.int64), torch.ones(n, dtype=torch.int64))


def own(n_queries, n):
    return launching.Documents(torch.zeros((n_queries, n), dtype=torch.int64), torch.ones((n_queries, n)))


def test_a_query_has_a_block_at_least_and_one_more_for_every_32_tokens():
    assert [launching.n_blocks_of(n) for n in (0, 1, 32, 33, 64, 65)] == [1, 1, 1, 2, 2, 3]


def test_programs_take_several_blocks_only_where_all_queries_have_the_same_documents():
    assert [launching.blocks_per_program(n, 4, shared(3)) for n in (1, 2, 3, 4, 9)] == [1, 2, 2, 4, 4]
    assert launching.blocks_per_program(9, 4, own(9, 3)) == 1


def test_a_tile_has_the_rows_that_tensor_cores_need_and_no_more_than_fit():
    assert [launching.tile_tokens(width) for width in (16, 64, 128, 512, 1024)] == [128, 128, 64, 16, 16]


@pytest.mark.parametrize("most", [7, 12, 100])
def test_more_programs_than_a_launch_can_number_are_several_launches(monkeypatch, most):
    monkeypatch.setattr(launching, "_MOST_PROGRAMS", most)
    parts = list(launching.launches(shared(10), 3))
    assert all(n <= most for _, n in parts)
    assert [doc for first, n in parts for doc in range(first, first + n // 3)] == list(range(10))


def test_no_documents_are_no_launch():
    assert list(launching.launches(shared(0), 3)) == []
