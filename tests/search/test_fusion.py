from __future__ import annotations

import pytest

from colbert_rag.search import reciprocal_rank_fusion, weighted_fusion


def test_reciprocal_ranks_add_up_as_in_the_paper():
    fused = reciprocal_rank_fusion([[7, 8], [8, 9]], [1, 1])
    assert fused == pytest.approx({7: 1 / 61, 8: 1 / 62 + 1 / 61, 9: 1 / 62})


def test_a_weight_of_zero_leaves_the_other_ranking():
    fused = reciprocal_rank_fusion([[7, 8], [9]], [0, 1])
    assert fused == {7: 0, 8: 0, 9: 1 / 61}


def test_scores_are_stretched_to_one_scale_and_weighted():
    fused = weighted_fusion(({1: 30.0, 2: 20.0, 3: 10.0}, {2: 4.0, 3: 8.0}), (0.75, 0.25), (None, 0.0))
    assert fused == pytest.approx({1: 0.75, 2: 0.375 + 0.125, 3: 0.25})


def test_the_weakest_match_stands_above_no_match():
    fused = weighted_fusion(({1: 3.0, 2: 2.0, 3: 2.0}, {1: 0.9, 2: 0.5}), (0.0, 1.0), (None, 0.0))
    assert fused[1] > fused[2] > fused[3] == 0


def test_equal_scores_and_empty_rankings_are_fused_too():
    assert weighted_fusion(({1: 2.0, 2: 2.0}, {}), (0.5, 0.5), (None, 0.0)) == {1: 0.5, 2: 0.5}
    assert weighted_fusion(({}, {}), (0.5, 0.5), (None, 0.0)) == {}
