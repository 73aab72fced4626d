from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from colbert_rag.codec import n_centroids_for, require_faiss, train_codec
from colbert_rag.codec.training import sample_size
from colbert_rag.errors import MissingDependencyError


@pytest.mark.parametrize("n_tokens", [0, 1, 15, 16, 100, 50_000, 1_000_000, 3 * 10**8, 10**9])
def test_few_and_very_many_tokens_have_a_quarter_of_plaids_centroids_before_it_rounds(n_tokens):
    found, plaid = n_centroids_for(n_tokens), 16 * math.sqrt(n_tokens)
    assert found % 16 == 0
    assert found == 16 if plaid / 4 < 16 else abs(found - plaid / 4) <= 8


@pytest.mark.parametrize(("n_tokens", "k"), [(1_480_000, 5_776), (5_000_000, 19_520), (2**24, 2**16), (10**8, 2**16)])
def test_in_between_a_centroid_stands_for_256_tokens_until_two_bytes_name_no_more(n_tokens, k):
    assert n_centroids_for(n_tokens) == k


@pytest.mark.parametrize(("n_centroids", "group_size"), [(63, 1), (64, 32), (80, 32)])
def test_many_centroids_lie_in_groups_that_resemble_one_another(clustered, monkeypatch, n_centroids, group_size):
    monkeypatch.setattr("colbert_rag.codec.training._MANY_CENTROIDS", 64)
    codec = train_codec(clustered(2_000, 48), n_centroids=n_centroids, bits=4)
    assert (codec.n_centroids, codec.group_size) == (n_centroids, group_size)
    expected = {1: 0, 32: math.ceil(n_centroids / 32)}[group_size]
    assert codec.directions.shape == (expected, 48)
    for n, direction in enumerate(codec.directions):
        total = codec.centroids[n * 32 : (n + 1) * 32].sum(axis=0)
        np.testing.assert_allclose(direction, total / np.linalg.norm(total), atol=1e-5)


def test_a_corpus_of_any_size_is_trained_on_within_bounds():
    assert n_centroids_for(10**12) == 2**18
    sizes = [sample_size(k) for k in (16, 4_096, 8_192, 16_384, 2**18)]
    assert sizes == [1_024, 262_144, 524_288, 524_288, 2**22]


def test_rotation_keeps_lengths_and_angles(clustered):
    codec = train_codec(clustered(500, 48), n_centroids=16, bits=4)
    np.testing.assert_allclose(codec.rotation @ codec.rotation.T, np.eye(48), atol=1e-6)


def test_centroids_have_unit_length_and_survive_storage_as_float16(clustered):
    codec = train_codec(clustered(500, 48), n_centroids=16, bits=4)
    assert codec.centroids.shape == (16, 48)
    np.testing.assert_allclose(np.linalg.norm(codec.centroids, axis=1), 1, atol=2e-3)
    np.testing.assert_array_equal(codec.centroids, codec.centroids.astype(np.float16).astype(np.float32))


def test_centroids_find_the_clusters(clustered):
    """64 clusters and 64 centroids: a vector is much nearer to its centroid than to a random direction."""
    vectors = clustered(4_000, 100)
    codec = train_codec(vectors, n_centroids=64, bits=4)
    assert ((vectors @ codec.rotation) @ codec.centroids.T).max(axis=1).mean() > 0.75


def test_the_same_seed_gives_the_same_codec_and_another_seed_another(clustered):
    sample = clustered(1_000, 48)
    one, again, other = (train_codec(sample, n_centroids=32, bits=4, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.centroids, again.centroids)
    np.testing.assert_array_equal(one.rotation, again.rotation)
    assert not np.allclose(one.rotation, other.rotation)


@pytest.mark.parametrize("n", [1, 2, 15])
def test_a_sample_smaller_than_k_gives_as_many_centroids_as_vectors(clustered, n):
    sample = clustered(n, 48)
    codec = train_codec(sample, n_centroids=16, bits=8)
    assert codec.n_centroids == n
    decoded = codec.decode(codec.encode(sample))
    np.testing.assert_allclose((decoded * sample).sum(axis=1), 1, atol=0.003)


def test_float16_samples_are_taken(clustered):
    sample = clustered(300, 48)
    half = train_codec(sample.astype(np.float16), n_centroids=16, bits=4)
    assert half.centroids.dtype == np.float32


def test_missing_faiss_names_the_extra_to_install(monkeypatch, clustered):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'late-interaction-rag\[cpu\]'") as caught:
        require_faiss()
    assert isinstance(caught.value.__cause__, ImportError)
    with pytest.raises(MissingDependencyError):
        train_codec(clustered(20, 8), n_centroids=4, bits=1)
