from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
import torch
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

from colbert_rag.codec import pool_tokens
from colbert_rag.types import TokenVectors

FACTORS = [2, 3, 4]


@pytest.fixture
def tokens_of(clustered):
    """``tokens_of(n)``: a text of n words of four letters, each after a blank."""

    def make(n, dim=16, seed=0):
        starts = np.arange(n, dtype=np.int32) * 5
        return TokenVectors(clustered(n, dim, seed), np.column_stack([starts, starts + 4]))

    return make


def sorted_rows(vectors):
    rows = np.asarray(vectors, np.float32)
    return rows[np.lexsort(rows.T)]


def ward_by_hand(vectors, n_clusters):
    """Members of each cluster: merge the pair that adds least to the sum of squared distances, again and again."""
    clusters = [[n] for n in range(len(vectors))]
    while len(clusters) > n_clusters:
        means = np.array([vectors[c].mean(axis=0) for c in clusters], np.float64)
        sizes = np.array([len(c) for c in clusters], np.float64)
        distances = ((means[:, None] - means[None]) ** 2).sum(axis=2)
        costs = sizes[:, None] * sizes / (sizes[:, None] + sizes) * distances
        np.fill_diagonal(costs, np.inf)
        a, b = sorted(np.unravel_index(costs.argmin(), costs.shape))
        clusters[a] += clusters.pop(b)
    return clusters


@pytest.mark.parametrize("factor", FACTORS)
def test_clusters_are_those_of_wards_criterion_over_meaning_and_place(tokens_of, factor):
    tokens = tokens_of(40)
    pooled = pool_tokens(tokens, factor)
    rows = pooled.spans[:, 0] // 5
    clusters = {}
    # 20 tokens apart is a squared distance of 1, which is a cosine of 0.5
    placed = np.column_stack([tokens.vectors, np.arange(40) / 20])
    for members in ward_by_hand(placed, -(-40 // factor)):
        [medoid] = set(members) & set(rows.tolist())
        clusters[medoid] = members
    for row, vector in zip(rows.tolist(), pooled.vectors, strict=True):
        members = tokens.vectors[clusters[row]]
        mean = members.sum(axis=0) / np.linalg.norm(members.sum(axis=0))
        np.testing.assert_allclose(vector, mean, atol=1e-5)
        # of two tokens both are equally like their mean, up to rounding
        assert tokens.vectors[row] @ mean >= (members @ mean).max() - 1e-6


def test_well_separated_words_are_merged_as_sentence_transformers_merges_them():
    """Six directions with four tokens each: any sound clustering finds them, and so do both."""
    rng = np.random.default_rng(1)
    centres = np.linalg.qr(rng.standard_normal((8, 8)))[0][:6]
    rows = np.repeat(centres, 4, axis=0)[rng.permutation(24)] + 0.02 * rng.standard_normal((24, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    starts = np.arange(24, dtype=np.int32)
    pooled = pool_tokens(TokenVectors(rows, np.column_stack([starts, starts + 1])), 4)
    [reference] = HierarchicalTokenPooling(4, num_protected_tokens=0).pool([torch.from_numpy(rows)])
    np.testing.assert_allclose(sorted_rows(pooled.vectors), sorted_rows(reference.numpy()), atol=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 31, 33, 511, 512, 513, 1_023, 1_024, 1_025, 1_700])
def test_a_document_keeps_one_vector_of_so_many_rounded_up(tokens_of, n, factor):
    pooled = pool_tokens(tokens_of(n), factor)
    assert pooled.vectors.shape == (-(-n // factor), 16)
    assert pooled.spans.shape == (-(-n // factor), 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_pooled_vectors_have_unit_length_in_the_type_that_was_given(tokens_of, dtype):
    tokens = tokens_of(700, dim=48)
    pooled = pool_tokens(TokenVectors(tokens.vectors.astype(dtype), tokens.spans), 3)
    assert pooled.vectors.dtype == dtype
    np.testing.assert_allclose(np.linalg.norm(pooled.vectors.astype(np.float32), axis=1), 1, atol=1e-3)


def test_factor_1_gives_back_what_was_given(tokens_of):
    tokens = tokens_of(9)
    assert pool_tokens(tokens, 1) is tokens


def test_what_was_given_is_left_as_it_is(tokens_of):
    tokens = tokens_of(600)
    vectors, spans = tokens.vectors.copy(), tokens.spans.copy()
    pool_tokens(tokens, 2)
    assert (tokens.vectors == vectors).all()
    assert (tokens.spans == spans).all()


def test_spans_are_spans_of_tokens_whose_starts_do_not_fall(tokens_of):
    tokens = tokens_of(1_300)
    pooled = pool_tokens(tokens, 3)
    assert (np.diff(pooled.spans[:, 0]) > 0).all()
    assert {tuple(span) for span in pooled.spans.tolist()} <= {tuple(span) for span in tokens.spans.tolist()}
    assert pooled.spans.dtype == tokens.spans.dtype


@pytest.mark.parametrize("factor", FACTORS)
def test_tokens_without_text_are_never_merged_with_text(tokens_of, factor):
    """Markers at both ends and the tokens of a heading, all of them like the words of the text."""
    text = tokens_of(20)
    before, after = tokens_of(5).vectors, tokens_of(1).vectors
    spans = np.concatenate([np.zeros((5, 2), np.int32), text.spans, np.full((1, 2), 99, np.int32)])
    tokens = TokenVectors(np.concatenate([before, text.vectors, after]), spans)
    pooled = pool_tokens(tokens, factor)
    is_text = pooled.spans[:, 1] > pooled.spans[:, 0]
    expected = pool_tokens(text, factor)
    assert (pooled.vectors[is_text] == expected.vectors).all()
    assert (pooled.spans[is_text] == expected.spans).all()
    assert (~is_text).sum() == -(-6 // factor)
    assert (np.diff(pooled.spans[:, 0]) >= 0).all()


def test_a_document_without_any_text_span_is_pooled_too(tokens_of):
    pooled = pool_tokens(TokenVectors(tokens_of(10).vectors, np.zeros((10, 2), np.int32)), 2)
    assert pooled.vectors.shape == (5, 16)
    assert not pooled.spans.any()


def test_vectors_that_cancel_each_other_out_are_stood_for_by_one_of_them():
    vectors = np.array([[1, 0], [-1, 0]], np.float32)
    pooled = pool_tokens(TokenVectors(vectors, np.array([[0, 1], [2, 3]], np.int32)), 2)
    assert pooled.vectors.tolist() == [[1, 0]]
    assert pooled.spans.tolist() == [[0, 1]]


def test_a_word_said_far_apart_keeps_a_vector_and_a_span_at_each_place():
    """By meaning alone its four tokens would be one cluster before any others are merged."""
    words = np.eye(61, dtype=np.float32)
    rows = words[[0, 0, *range(1, 31), 0, 0, *range(31, 61)]]
    starts = np.arange(64, dtype=np.int32)
    pooled = pool_tokens(TokenVectors(rows, np.column_stack([starts, starts + 1])), 2)
    assert pooled.spans[pooled.vectors[:, 0] == 1, 0].tolist() == [0, 32]


def test_a_word_said_many_times_keeps_its_number_of_vectors():
    """Where distances are equal the tree is cut at the asked number all the same."""
    vectors = np.tile(np.array([[0.6, 0.8]], np.float32), (9, 1))
    pooled = pool_tokens(TokenVectors(vectors, np.column_stack([np.arange(9), np.arange(1, 10)])), 2)
    assert len(pooled.vectors) == 5
    np.testing.assert_allclose(pooled.vectors, vectors[:5], rtol=1e-6)


def test_the_same_tokens_give_the_same_bytes(tokens_of):
    one, other = pool_tokens(tokens_of(1_100), 2), pool_tokens(tokens_of(1_100), 2)
    assert one.vectors.tobytes() == other.vectors.tobytes()
    assert one.spans.tobytes() == other.spans.tobytes()


def test_tokens_are_merged_only_with_those_of_their_block(tokens_of):
    """Two blocks of 500: what stands in one changes nothing in the other."""
    tokens = tokens_of(1_000)
    changed = tokens.vectors.copy()
    changed[500:] = changed[500:][::-1]
    pooled, other = pool_tokens(tokens, 2), pool_tokens(TokenVectors(changed, tokens.spans), 2)
    assert (pooled.vectors[:250] == other.vectors[:250]).all()
    assert (pooled.spans[:250] == other.spans[:250]).all()
    assert (pooled.spans[250:] != other.spans[250:]).any()


def test_50_000_tokens_take_memory_and_time_of_their_number(tokens_of):
    tokens = tokens_of(50_000, dim=32)
    tracemalloc.start()
    begin = time.perf_counter()
    pooled = pool_tokens(tokens, 2)
    seconds = time.perf_counter() - begin
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(pooled.vectors) == 25_000
    # all distances at once would be 5 GB; the vectors alone are 6.4 MB
    assert peak < 10 * tokens.vectors.nbytes
    assert seconds < 60
