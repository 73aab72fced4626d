from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from colbert_rag.kernels import reference
from colbert_rag.kernels.layout import WIDTH
from colbert_rag.search.candidates import Probes, approximate, keep_best, probes_of, score_table


def centroid_scores(n_query, k=50):
    return np.random.default_rng(n_query).uniform(-1, 1, (k, n_query)).astype(np.float32)


@pytest.mark.parametrize("n_query", [1, 31, 32, 33, 64, 70])
def test_score_table_follows_its_formula(n_query):
    scores = centroid_scores(n_query)
    table = score_table(scores)
    n_blocks = -(-n_query // WIDTH)
    assert (table.shape, table.dtype) == ((n_blocks, 50, WIDTH), np.uint8)
    flat = table.transpose(1, 0, 2).reshape(50, -1)
    wanted = 255 * (1 - (scores.max(axis=0) - scores.astype(np.float64)) / 0.8).clip(0, 1)
    assert (np.abs(flat[:, :n_query] - wanted) <= 1).all()
    assert (flat[:, :n_query].max(axis=0) == 255).all()
    assert not flat[:, n_query:].any()


def test_sums_of_the_table_order_documents_as_sums_of_scores_do():
    """Where all scores lie within the range of the table, the two differ by a constant and rounding."""
    rng = np.random.default_rng(3)
    scores = rng.uniform(0.2, 0.9, (50, 12)).astype(np.float32)
    ids = rng.integers(0, 50, 400).astype(np.uint16)
    offsets = np.arange(0, 401, 10)
    rough = reference.approximate_scores(score_table(scores), ids, offsets[:-1], offsets[1:])
    full = np.array([scores[ids[a : a + 10]].max(axis=0).sum() for a in offsets[:-1]])
    shift = rough / 255 * 0.8 - full
    assert np.ptp(shift) < 12 * 0.8 / 255


def test_probes_are_the_best_centroids_of_every_query_token_and_what_they_gain_over_the_worst():
    table = score_table(centroid_scores(6))
    for n_probe in (1, 4, 50, 99):
        centroids, gains = probes_of(table, 6, n_probe)
        expected, entries = reference.best_centroids(table, 6, min(n_probe, table.shape[1]))
        np.testing.assert_array_equal(centroids, expected)
        np.testing.assert_array_equal(gains, entries - entries[:, -1:])


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


@pytest.mark.parametrize("deleted", [(), tuple(range(1, 301, 3))])
def test_a_scan_scores_every_live_document(snapshot_of, corpus, codec, workers, deleted):
    [view] = snapshot_of(corpus, codec=codec, deleted=deleted).views
    table = score_table(centroid_scores(33, codec.n_centroids))
    positions, scores = approximate(view, table, probes_of(table, 33, 2), 5, workers)
    live = [n for n in range(300) if n + 1 not in deleted]
    assert positions.tolist() == live
    starts, ends = corpus.offsets[live], corpus.offsets[np.array(live) + 1]
    expected = reference.approximate_scores(table, view.segment.columns["centroid_ids"], starts, ends)
    np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize("deleted", [(), tuple(range(1, 301, 3))])
@pytest.mark.parametrize("wanted", [1, 5, 300])
def test_a_probe_scores_the_live_documents_that_the_lists_speak_for(
    snapshot_of, corpus, codec, workers, deleted, wanted
):
    [view] = snapshot_of(corpus, codec=codec, lists=True, deleted=deleted).views
    table = score_table(centroid_scores(5, codec.n_centroids))
    ids = view.segment.columns["centroid_ids"]
    lists = reference.inverted_lists(ids, corpus.offsets, codec.n_centroids)
    for n_probe in (1, 4, 64):
        probes = probes_of(table, 5, n_probe)
        positions, scores = approximate(view, table, probes, wanted, workers)
        found, first_scores = reference.probe(lists, *probes)
        is_live = ~np.isin(found + 1, deleted)
        expected = found[is_live][keep_best(first_scores[is_live], 4 * wanted)]
        if len(expected) < min(wanted, view.n_alive):
            expected = view.live
        assert positions.tolist() == expected.tolist()
        starts, ends = corpus.offsets[positions], corpus.offsets[positions + 1]
        np.testing.assert_array_equal(scores, reference.approximate_scores(table, ids, starts, ends))


def test_too_few_probed_documents_are_made_up_for_by_a_scan(snapshot_of, corpus, codec, workers):
    [view] = snapshot_of(corpus, codec=codec, lists=True).views
    table = score_table(centroid_scores(5, codec.n_centroids))
    lists = reference.inverted_lists(view.segment.columns["centroid_ids"], corpus.offsets, codec.n_centroids)
    few = min((n for n in range(codec.n_centroids) if len(lists[n])), key=lambda n: len(lists[n]))
    probes = Probes(np.array([[few]]), np.ones((1, 1), np.uint8))
    assert 1 <= len(lists[few]) < 300
    probed, _ = approximate(view, table, probes, len(lists[few]), workers)
    assert probed.tolist() == lists[few].tolist()
    positions, _ = approximate(view, table, probes, len(lists[few]) + 1, workers)
    assert positions.tolist() == list(range(300))
