from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from colbert_rag.kernels import reference, token_similarities
from colbert_rag.kernels.layout import WIDTH
from colbert_rag.search import narrowed
from colbert_rag.search.candidates import REACH, SLACK, keep_best, n_opened, prune, reach_of, table_steps
from colbert_rag.types import SearchConfig

PER_CANDIDATE = 4


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


def heavy(query):
    """A query whose first token weighs many times as much as the rest; mean 1."""
    weights = np.full(len(query), 0.1)
    weights[0] = len(query) - weights[1:].sum()
    return (query * weights[:, None]).astype(np.float32)


def test_the_table_reaches_farther_where_a_token_is_heavy(queries):
    assert [reach_of(query) for query in queries] == [REACH] * len(queries)
    assert reach_of(2 * queries[1]) == REACH
    assert reach_of(heavy(queries[2])) == pytest.approx(REACH * 28 / 3)


def test_each_token_of_a_short_query_opens_more_groups_than_of_a_long_one(codec):
    of_2048_groups = replace(codec, centroids=np.zeros((4096, codec.dim), np.float32), group_size=2)
    assert n_opened(of_2048_groups, np.array([1, 3, 12, 15, 100])).tolist() == [614, 204, 51, 41, 41]


def listed(view, codec, table, n_query, wanted, n_probe):
    """Live positions that the opened lists name and what these gain; None where all documents count."""
    if view.segment.lists is None:
        return None
    ids, offsets = view.segment.columns["centroid_ids"], view.segment.doc_offsets
    lists = reference.inverted_lists(ids, offsets, codec.n_centroids)
    opened, entries = reference.best_centroids(table, n_query, min(n_probe, codec.n_centroids))
    found, gains = reference.probe(lists, opened, entries - entries[:, -1:])
    is_live = np.isin(found, view.live)
    return (found[is_live], gains[is_live]) if is_live.sum() >= min(wanted, view.n_alive) else None


def expected_of(views, codec, table, n_query, wanted, n_probe):
    """Of each segment positions and approximate scores, stage by stage."""
    named = [listed(view, codec, table, n_query, wanted, n_probe) for view in views]
    gains = np.concatenate([np.zeros(0, np.uint32), *(one[1] for one in named if one is not None)])
    least = np.sort(gains)[-PER_CANDIDATE * wanted :].min(initial=2**32 - 1)
    for view, one in zip(views, named, strict=True):
        positions = view.live if one is None else np.sort(one[0][one[1] >= least])
        ids, offsets = view.segment.columns["centroid_ids"], view.segment.doc_offsets
        yield positions, reference.approximate_scores(table, ids, offsets[positions], offsets[positions + 1])


def candidates(snapshot, codec, queries, wanted, n_probe):
    """Of each query the positions in each segment that would be scored exactly, rising."""
    config = SearchConfig(n_candidates=wanted, n_probe=n_probe)
    found = prune(snapshot, codec, codec.quantise_queries(queries), 1, config, most_tokens=0)
    assert not any(part.is_scored for part in found)
    return [[np.sort(positions).tolist() for _, positions, _ in part.by_view] for part in found]


@pytest.mark.parametrize("deleted", [(), tuple(range(1, 301, 3))])
@pytest.mark.parametrize("n_segments", [1, 4])
@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize("wanted", [4, 5, 40, 199])
def test_candidates_are_those_of_the_stages_one_by_one(
    snapshot_of, corpus, codec, queries, deleted, n_segments, lists, wanted
):
    asked = [*queries, heavy(queries[2])]
    whole = snapshot_of(corpus, codec=codec, n_segments=n_segments, lists=lists, deleted=deleted)
    for snapshot in (whole, narrowed(whole, np.arange(50, 200))):
        for n_probe in (1, 2, 8, 99):
            got = candidates(snapshot, codec, asked, wanted, n_probe)
            for query, found in zip(asked, got, strict=True):
                table = table_of(codec, query)
                expected = list(expected_of(snapshot.views, codec, table, len(query), wanted, n_probe))
                kept = keep_best(np.concatenate([scores for _, scores in expected]), wanted)
                cuts = np.cumsum([0, *(len(scores) for _, scores in expected)])
                chosen = [
                    positions[kept[(kept >= a) & (kept < b)] - a].tolist()
                    for (positions, _), (a, b) in zip(expected, pairwise(cuts), strict=True)
                ]
                assert found == chosen


def test_too_few_probed_documents_are_made_up_for_by_a_scan(snapshot_of, corpus, codec, queries):
    snapshot = snapshot_of(corpus, codec=codec, lists=True)
    [view] = snapshot.views
    lists = reference.inverted_lists(view.segment.columns["centroid_ids"], corpus.offsets, codec.n_centroids)
    in_list = set(lists[int(table_of(codec, queries[0])[0, :, 0].argmax())].tolist())
    assert 4 <= len(in_list) < 300
    for wanted, among in ((len(in_list), in_list), (len(in_list) + 1, set(range(300)))):
        [[found]] = candidates(snapshot, codec, queries[:1], wanted, 1)
        assert set(found) <= among
        assert len(found) >= wanted


def table_of(codec, query):
    # of the kernel: in float64 an entry might be rounded the other way
    rotated = codec.quantise_query(query).rotated
    return reference.score_table(token_similarities(rotated, codec.centroids), float(reach_of(rotated)), WIDTH)


def scores_of_opened(codec, query, n_opened):
    """Scores with the centroids of the opened groups, minus infinity with others; and scores with all."""
    rotated = codec.quantise_query(query).rotated
    entries = reference.score_table(token_similarities(rotated, codec.directions), float(REACH), WIDTH)
    opened = reference.opened_groups(entries, len(query), n_opened)
    scores = token_similarities(rotated, codec.centroids)
    is_opened = opened.repeat(codec.group_size)[: codec.n_centroids, None]
    return np.where(is_opened, scores, np.float32(-np.inf)), scores


@pytest.mark.parametrize("group_size", [2, 5, 8, 64])
@pytest.mark.parametrize("n_opened", [1, 3])
@pytest.mark.parametrize("lists", [False, True])
def test_centroids_of_groups_far_from_a_query_find_no_candidates(
    snapshot_of, corpus, codec, queries, monkeypatch, group_size, n_opened, lists
):
    monkeypatch.setattr("colbert_rag.search.candidates.n_opened", lambda codec, sizes: np.full_like(sizes, n_opened))
    grouped = replace(codec, group_size=group_size)
    snapshot = snapshot_of(corpus, codec=grouped, lists=lists, n_segments=2)
    is_any_left_out = False
    for query, found in zip(queries, candidates(snapshot, grouped, queries, 20, 2), strict=True):
        opened, _ = scores_of_opened(grouped, query, n_opened)
        is_any_left_out |= bool(np.isinf(opened).any())
        table = reference.score_table(opened, float(REACH), WIDTH)
        expected = list(expected_of(snapshot.views, grouped, table, len(query), 20, 2))
        border = np.sort(np.concatenate([scores for _, scores in expected]))[-20]
        assert found == [positions[scores >= border].tolist() for positions, scores in expected]
    assert is_any_left_out == (group_size < 64)


@pytest.mark.parametrize("lists", [False, True])
def test_where_few_documents_are_left_all_of_their_centroids_say_which_are_candidates(
    snapshot_of, corpus, codec, queries, monkeypatch, lists
):
    """As though the table had been whole, but for entries above the best of the opened groups, which are 255."""
    monkeypatch.setattr("colbert_rag.search.candidates.n_opened", lambda codec, sizes: np.ones_like(sizes))
    grouped = replace(codec, group_size=2)
    sizes = np.diff(corpus.offsets)
    short = np.flatnonzero(sizes <= 5)[:20]
    for keys, is_whole in ((short + 1, True), (np.arange(1, 21), False)):
        assert (sizes[keys - 1].sum() <= codec.n_centroids) == is_whole
        snapshot = narrowed(snapshot_of(corpus, codec=grouped, lists=lists, n_segments=2), keys)
        differs = False
        for query, found in zip(queries, candidates(snapshot, grouped, queries, 4, 99), strict=True):
            opened, scores = scores_of_opened(grouped, query, 1)
            whole = np.minimum(scores, opened.max(axis=0))
            chosen = []
            for known in (whole, opened):
                table = reference.score_table(known, float(REACH), WIDTH)
                expected = list(expected_of(snapshot.views, grouped, table, len(query), 10**9, 99))
                border = np.sort(np.concatenate([scores for _, scores in expected]))[-4]
                chosen.append([positions[scores >= border].tolist() for positions, scores in expected])
            assert found == chosen[0 if is_whole else 1]
            differs |= chosen[0] != chosen[1]
        assert differs


def test_candidates_are_scored_with_all_of_their_centroids(snapshot_of, corpus, codec, queries, monkeypatch):
    """As though the table had been whole, but for entries above the best of the opened groups, which are 255."""
    monkeypatch.setattr("colbert_rag.search.candidates.n_opened", lambda codec, sizes: np.ones_like(sizes))
    grouped = replace(codec, group_size=4)
    snapshot = snapshot_of(corpus, codec=grouped)
    [view] = snapshot.views
    columns, offsets = view.segment.columns, view.segment.doc_offsets
    tokens = columns["centroid_ids"], columns["codes"], columns["factors"]
    chosen = candidates(snapshot, grouped, queries, 20, 1)
    scored = prune(snapshot, grouped, grouped.quantise_queries(queries), 5, SearchConfig(n_candidates=20), 10**9)
    for query, [positions], part in zip(queries, chosen, scored, strict=True):
        opened, scores = scores_of_opened(grouped, query, 1)
        table = reference.score_table(np.minimum(scores, opened.max(axis=0)), float(REACH), WIDTH)
        asked = grouped.quantise_query(query)
        integers = asked.integers.reshape(len(query), -1)[:, : grouped.dim]
        documents, slack = (offsets[positions], offsets[np.array(positions) + 1]), int(table_steps(SLACK))
        every = reference.residual_scores(
            *(integers, asked.scale, scores, table, tokens, documents, grouped.grid, grouped.bits, slack)
        )
        kept = np.sort(keep_best(every, 5))
        [(_, found, exact)] = part.by_view
        assert part.is_scored
        assert found.tolist() == np.array(positions)[kept].tolist()
        np.testing.assert_allclose(exact, every[kept], rtol=1e-5)


def test_queries_are_pruned_together_as_one_by_one(snapshot_of, corpus, codec, queries):
    snapshot = snapshot_of(corpus, codec=codec, n_segments=3, lists=True, deleted=(7, 8, 250))
    config = SearchConfig(n_candidates=60, n_probe=4)

    def pruned(group):
        return [
            [(positions.tolist(), scores.tolist()) for _, positions, scores in part.by_view]
            for part in prune(snapshot, codec, codec.quantise_queries(group), 5, config, 10**9)
        ]

    assert pruned(queries) == [found for query in queries for found in pruned([query])]
    assert any(scores for _, scores in pruned(queries)[3])


def test_a_query_of_many_candidates_is_left_to_all_threads_and_its_neighbours_are_not(
    snapshot_of, corpus, codec, queries
):
    snapshot = snapshot_of(corpus, codec=codec)
    [view] = snapshot.views
    sizes = np.diff(view.segment.doc_offsets)
    n_tokens = [sizes[found].sum() for [found] in candidates(snapshot, codec, queries, 20, 4)]
    most = int(np.median(n_tokens))
    found = prune(snapshot, codec, codec.quantise_queries(queries), 5, SearchConfig(n_candidates=20), most)
    assert [part.is_scored for part in found] == [n < most for n in n_tokens]
    assert {part.is_scored for part in found} == {True, False}


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
