from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from colbert_rag.kernels import reference
from colbert_rag.kernels.layout import WIDTH
from colbert_rag.search import narrowed
from colbert_rag.search.candidates import REACH, find_candidates, keep_best, table_steps

PER_CANDIDATE = 4


def test_the_table_follows_its_formula(snapshot_of, corpus, codec, queries):
    for query in queries:
        asked = find_candidates(snapshot_of(corpus, codec=codec), codec, codec.quantise_query(query), 5, 2).asked
        expected = asked.query.rotated.astype(np.float64) @ codec.centroids.astype(np.float64).T
        np.testing.assert_allclose(asked.centroid_scores, expected.T, atol=1e-5)
        assert (asked.table.shape, asked.table.dtype) == ((-(-len(query) // WIDTH), 64, WIDTH), np.uint8)
        flat = asked.table.transpose(1, 0, 2).reshape(64, -1)
        wanted = 255 * (1 - (asked.centroid_scores.max(axis=0) - asked.centroid_scores) / REACH).clip(0, 1)
        assert (np.abs(flat[:, : len(query)] - wanted) <= 1).all()
        assert (flat[:, : len(query)].max(axis=0) == 255).all()
        assert not flat[:, len(query) :].any()


def test_sums_of_the_table_order_documents_as_sums_of_scores_do():
    """Where all scores lie within the range of the table, the two differ by a constant and rounding."""
    rng = np.random.default_rng(3)
    scores = rng.uniform(0.2, 0.9, (50, 12)).astype(np.float32)
    ids = rng.integers(0, 50, 400).astype(np.uint16)
    offsets = np.arange(0, 401, 10)
    table = reference.score_table(scores, float(REACH), WIDTH)
    rough = reference.approximate_scores(table, ids, offsets[:-1], offsets[1:])
    full = np.array([scores[ids[a : a + 10]].max(axis=0).sum() for a in offsets[:-1]])
    shift = rough / 255 * 0.8 - full
    assert np.ptp(shift) < 12 * 0.8 / 255


def test_a_difference_of_similarities_is_told_in_steps_of_the_table():
    assert [int(table_steps(x)) for x in (0.0, 0.04, 0.2, float(REACH), np.inf)] == [0, 13, 64, 255, 255]


def expected_of(view, codec, table, n_query, wanted, n_probe):
    """Positions and approximate scores in one segment, stage by stage."""
    ids, offsets = view.segment.columns["centroid_ids"], view.segment.doc_offsets
    positions = view.live
    if view.segment.lists is not None:
        lists = reference.inverted_lists(ids, offsets, codec.n_centroids)
        opened, entries = reference.best_centroids(table, n_query, min(n_probe, codec.n_centroids))
        found, scores = reference.probe(lists, opened, entries - entries[:, -1:])
        is_live = np.isin(found, view.live)
        found = found[is_live][keep_best(scores[is_live], PER_CANDIDATE * wanted)]
        if len(found) >= min(wanted, view.n_alive):
            positions = np.sort(found)
    return positions, reference.approximate_scores(table, ids, offsets[positions], offsets[positions + 1])


@pytest.mark.parametrize("deleted", [(), tuple(range(1, 301, 3))])
@pytest.mark.parametrize("n_segments", [1, 4])
@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("wanted", [1, 5, 40, 300])
def test_candidates_are_those_of_the_stages_one_by_one(
    snapshot_of, corpus, codec, queries, deleted, n_segments, lists, wanted
):
    whole = snapshot_of(corpus, codec=codec, n_segments=n_segments, lists=lists, deleted=deleted)
    for snapshot in (whole, narrowed(whole, np.arange(50, 200))):
        for query, n_probe in zip(queries, (1, 2, 4, 8, 64, 99), strict=True):
            quantised = codec.quantise_query(query)
            found = find_candidates(snapshot, codec, quantised, wanted, n_probe)
            table = reference.score_table(found.asked.centroid_scores, float(REACH), WIDTH)
            np.testing.assert_array_equal(found.asked.table, table)
            expected = [expected_of(v, codec, table, len(query), wanted, n_probe) for v in snapshot.views]
            kept = keep_best(np.concatenate([scores for _, scores in expected]), wanted)
            cuts = np.cumsum([0, *(len(scores) for _, scores in expected)])
            chosen = [
                positions[kept[(kept >= a) & (kept < b)] - a]
                for (positions, _), (a, b) in zip(expected, pairwise(cuts), strict=True)
            ]
            got = [(view, np.sort(positions).tolist()) for view, positions in found.by_view(snapshot)]
            assert got == [(view, positions.tolist()) for view, positions in zip(snapshot.views, chosen, strict=True)]


def test_too_few_probed_documents_are_made_up_for_by_a_scan(snapshot_of, corpus, codec, queries):
    snapshot = snapshot_of(corpus, codec=codec, lists=True)
    [view] = snapshot.views
    lists = reference.inverted_lists(view.segment.columns["centroid_ids"], corpus.offsets, codec.n_centroids)
    query = codec.quantise_query(queries[0])
    best = int(find_candidates(snapshot, codec, query, 1, 1).asked.centroid_scores[:, 0].argmax())
    n_in_list = len(lists[best])
    assert 1 <= n_in_list < 300
    for wanted, among in ((n_in_list, set(lists[best].tolist())), (n_in_list + 1, set(range(300)))):
        found = find_candidates(snapshot, codec, query, wanted, 1)
        assert set(found.positions.tolist()) <= among
        assert len(found.positions) >= wanted


@settings(deadline=None)
@given(arrays.arrays(np.uint32, st.integers(1, 60), elements=st.integers(0, 8)), st.integers(1, 70))
def test_the_best_are_kept_with_all_that_tie_with_the_last(scores, n):
    kept = keep_best(scores, n)
    border = sorted(scores.tolist(), reverse=True)[min(n, len(scores)) - 1]
    expected = np.arange(len(scores)) if n >= len(scores) else np.flatnonzero(scores >= border)
    np.testing.assert_array_equal(kept, expected)


@settings(deadline=None)
@given(arrays.arrays(np.uint32, st.integers(1, 60), elements=st.integers(0, 1_000)), st.data())
def test_more_candidates_are_a_superset_of_fewer(scores, data):
    few = data.draw(st.integers(1, 60))
    many = data.draw(st.integers(few, 61))
    assert set(keep_best(scores, few).tolist()) <= set(keep_best(scores, many).tolist())
