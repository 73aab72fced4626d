from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from colbert_rag.search import Ranking, Snapshot, narrowed, rank
from colbert_rag.types import SearchConfig

DEFAULT = SearchConfig()
EXACT = SearchConfig(exact=True)


def assert_ranks_like(ranking, expected, k, tolerance=1e-4):
    """The ranking holds the best k keys of ``expected`` ``(N,)`` (key n + 1), with their scores, falling."""
    np.testing.assert_allclose(ranking.scores, expected[ranking.keys - 1], atol=tolerance)
    assert (np.diff(ranking.scores) <= 0).all()
    best = np.sort(expected)[::-1][:k]
    np.testing.assert_allclose(ranking.scores[:k], best, atol=tolerance)
    assert len(set(ranking.keys.tolist())) == len(ranking.keys)


@pytest.mark.parametrize("n_segments", [1, 3])
@pytest.mark.parametrize("k", [1, 10, 299])
def test_plain_vectors_are_ranked_by_maxsim(snapshot_of, corpus, queries, workers, brute_force, n_segments, k):
    snapshot = snapshot_of(corpus, n_segments=n_segments)
    for query in queries:
        expected = brute_force(query, corpus.vectors, corpus.offsets)
        assert_ranks_like(rank(snapshot, query, k, DEFAULT, workers), expected, k)


@pytest.mark.parametrize("n_segments", [1, 3])
@pytest.mark.parametrize("lists", [False, True])
def test_an_exact_search_is_brute_force_over_the_decoded_vectors(
    snapshot_of, corpus, codec, queries, workers, brute_force, n_segments, lists
):
    snapshot = snapshot_of(corpus, codec=codec, n_segments=n_segments, lists=lists)
    decoded = codec.decode(codec.encode(corpus.vectors))
    for query in queries:
        expected = brute_force(query, decoded, corpus.offsets)
        assert_ranks_like(rank(snapshot, query, 20, EXACT, workers), expected, 20, tolerance=1e-3)


def test_compressed_scores_are_close_to_those_of_the_vectors(snapshot_of, corpus, codec, queries, workers, brute_force):
    snapshot = snapshot_of(corpus, codec=codec)
    for query in queries:
        ranking = rank(snapshot, query, 300, EXACT, workers)
        expected = brute_force(query, corpus.vectors, corpus.offsets)
        np.testing.assert_allclose(ranking.scores / len(query), expected[ranking.keys - 1] / len(query), atol=0.05)


@pytest.mark.parametrize("n_segments", [1, 3])
def test_as_many_candidates_as_documents_give_the_exact_result(
    snapshot_of, corpus, codec, queries, workers, n_segments
):
    snapshot = snapshot_of(corpus, codec=codec, n_segments=n_segments)
    for query in queries:
        wide = rank(snapshot, query, 10, SearchConfig(n_candidates=300), workers)
        exact = rank(snapshot, query, 10, EXACT, workers)
        np.testing.assert_array_equal(wide.keys, exact.keys)
        np.testing.assert_array_equal(wide.scores, exact.scores)


def test_four_documents_are_scored_exactly_for_every_hit_at_least(snapshot_of, corpus, codec, queries, workers):
    snapshot = snapshot_of(corpus, codec=codec, n_segments=2)
    for query in queries:
        few, enough = (rank(snapshot, query, 20, SearchConfig(n_candidates=n), workers) for n in (1, 80))
        np.testing.assert_array_equal(few.keys, enough.keys)


@pytest.mark.parametrize("n_segments", [1, 3])
def test_probing_all_lists_finds_what_a_scan_finds(snapshot_of, corpus, codec, queries, workers, n_segments):
    scanned = snapshot_of(corpus, codec=codec, n_segments=n_segments)
    probed = snapshot_of(corpus, codec=codec, n_segments=n_segments, lists=True)
    config = SearchConfig(n_candidates=30, n_probe=codec.n_centroids)
    for query in queries:
        expected, found = (rank(snapshot, query, 10, config, workers) for snapshot in (scanned, probed))
        np.testing.assert_array_equal(found.keys, expected.keys)
        np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("lists", [False, True])
def test_a_pruned_search_finds_most_of_the_best(snapshot_of, corpus, codec, queries, workers, lists):
    snapshot = snapshot_of(corpus, codec=codec, lists=lists)
    shares = []
    for query in queries:
        exact = rank(snapshot, query, 10, EXACT, workers).keys.tolist()
        found = rank(snapshot, query, 10, SearchConfig(n_candidates=60), workers).keys.tolist()
        shares.append(len(set(exact) & set(found)) / 10)
    assert np.mean(shares) > 0.9


def test_scores_of_candidates_do_not_depend_on_how_many_there_are(snapshot_of, corpus, codec, queries, workers):
    snapshot = snapshot_of(corpus, codec=codec, n_segments=2)
    exact = rank(snapshot, queries[3], 300, EXACT, workers)
    scores = dict(zip(exact.keys.tolist(), exact.scores.tolist(), strict=True))
    for n in (10, 33, 150):
        ranking = rank(snapshot, queries[3], 10, SearchConfig(n_candidates=n), workers)
        assert [scores[key] for key in ranking.keys.tolist()] == ranking.scores.tolist()


@pytest.mark.parametrize("config", [DEFAULT, EXACT, SearchConfig(n_candidates=1)])
@pytest.mark.parametrize("compressed", [False, True])
def test_more_hits_than_documents_gives_all_of_them(snapshot_of, corpus, codec, queries, workers, compressed, config):
    snapshot = snapshot_of(corpus.part(0, 7), codec=codec if compressed else None, n_segments=2)
    ranking = rank(snapshot, queries[1], 100, config, workers)
    assert sorted(ranking.keys.tolist()) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("lists", [False, True])
def test_deleted_documents_never_appear(snapshot_of, corpus, codec, queries, workers, compressed, lists):
    deleted = [1, 2, 100, 101, 299, 300, 9_999]
    snapshot = snapshot_of(
        corpus, codec=codec if compressed else None, n_segments=3, lists=lists and compressed, deleted=deleted
    )
    assert snapshot.n_alive == 294
    for config in (DEFAULT, EXACT, SearchConfig(n_candidates=50, n_probe=64)):
        for query in queries[:3]:
            keys = set(rank(snapshot, query, 300, config, workers).keys.tolist())
            assert keys == set(range(1, 301)) - set(deleted)
            assert not set(rank(snapshot, query, 5, config, workers).keys.tolist()) & set(deleted)


def test_deleting_does_not_change_the_scores_of_others(snapshot_of, corpus, codec, queries, workers):
    whole = rank(snapshot_of(corpus, codec=codec), queries[2], 300, EXACT, workers)
    fewer = rank(snapshot_of(corpus, codec=codec, deleted=range(1, 151)), queries[2], 300, EXACT, workers)
    kept = whole.keys > 150
    np.testing.assert_array_equal(fewer.keys, whole.keys[kept])
    np.testing.assert_array_equal(fewer.scores, whole.scores[kept])


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("n_segments", [1, 4])
def test_all_documents_that_tie_at_the_cut_are_kept(
    snapshot_of, corpus, codec, queries, workers, compressed, n_segments
):
    """Twelve copies of one document lie among others; asking for one of them brings all."""
    one = corpus.part(5, 6)
    pieces = [piece for n in range(12) for piece in (one, corpus.part(20 + 3 * n, 22 + 3 * n))]
    counts = np.concatenate([np.diff(piece.offsets) for piece in pieces])
    mixed = replace(
        corpus,
        vectors=np.concatenate([piece.vectors for piece in pieces]),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )
    snapshot = snapshot_of(mixed, codec=codec if compressed else None, n_segments=n_segments)
    query = np.asarray(one.vectors[:1], np.float32)
    query = query / np.linalg.norm(query)
    for config in (DEFAULT, EXACT, SearchConfig(n_candidates=3)):
        ranking = rank(snapshot, query, 3, config, workers)
        assert sorted(ranking.keys.tolist()) == [1 + 3 * n for n in range(12)]
        assert len(set(ranking.scores.tolist())) == 1


def test_threads_change_no_bit_of_a_result(snapshot_of, corpus, codec, queries, workers, monkeypatch):
    monkeypatch.setattr("colbert_rag.search.searcher._TOKENS_PER_THREAD", 100)
    monkeypatch.setattr("colbert_rag.search.searcher._PLAIN_TOKENS_PER_THREAD", 100)
    monkeypatch.setattr("colbert_rag.search.searcher._MANY_TOKENS", 0)
    monkeypatch.setattr("colbert_rag.search.searcher._MANY_PER_CENTROID", 0)
    from colbert_rag.search import Workers

    alone = Workers(1)
    compressed = [
        snapshot_of(corpus, codec=codec, lists=lists, n_segments=n) for lists in (False, True) for n in (1, 3)
    ]
    for snapshot in (snapshot_of(corpus), *compressed):
        for query in queries:
            config = SearchConfig(n_candidates=70)
            one, many = (rank(snapshot, query, 10, config, w) for w in (alone, workers))
            np.testing.assert_array_equal(one.keys, many.keys)
            np.testing.assert_array_equal(one.scores, many.scores)
    alone.close()


@pytest.mark.parametrize("compressed", [False, True])
def test_an_empty_snapshot_gives_an_empty_ranking(codec, queries, workers, compressed):
    empty = Snapshot(0, codec if compressed else None, None, ())
    ranking = rank(empty, queries[0], 5, DEFAULT, workers)
    assert isinstance(ranking, Ranking)
    assert len(ranking.keys) == len(ranking.scores) == 0


@pytest.mark.parametrize("is_compressed", [False, True])
@pytest.mark.parametrize("lists", [False, True])
def test_a_narrowed_snapshot_ranks_as_if_it_held_the_chosen_documents_alone(
    snapshot_of, corpus, codec, queries, workers, is_compressed, lists
):
    chosen = np.sort(np.random.default_rng(3).choice(300, 150, replace=False)) + 1
    snapshot = narrowed(snapshot_of(corpus, codec=codec if is_compressed else None, n_segments=3, lists=lists), chosen)
    whole = rank(snapshot_of(corpus, codec=codec if is_compressed else None), queries[2], 300, EXACT, workers)
    scores = dict(zip(whole.keys.tolist(), whole.scores.tolist(), strict=True))
    expected = sorted((scores[key] for key in chosen.tolist()), reverse=True)
    exact = rank(snapshot, queries[2], 150, EXACT, workers)
    assert sorted(exact.keys.tolist()) == chosen.tolist()
    assert exact.scores.tolist() == expected
    pruned = rank(snapshot, queries[2], 5, SearchConfig(n_candidates=100), workers)
    assert set(pruned.keys.tolist()) <= set(chosen.tolist())


def test_few_chosen_documents_are_scored_exactly_however_far_from_the_query(
    snapshot_of, corpus, codec, queries, workers
):
    snapshot = snapshot_of(corpus, codec=codec)
    exact = rank(snapshot, queries[3], 300, EXACT, workers)
    worst = np.sort(exact.keys[-20:])
    found = rank(narrowed(snapshot, worst), queries[3], 10, SearchConfig(n_candidates=20), workers)
    assert found.keys.tolist() == exact.keys[-20:-10].tolist()
    assert found.scores.tolist() == exact.scores[-20:-10].tolist()
