from __future__ import annotations

import numpy as np
import pytest

from colbert_rag.search.diversity import diverse, resemblance


def rows(rng, n, dim=16):
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def documents():
    """Four documents; the second repeats the first in another order."""
    rng = np.random.default_rng(0)
    first, third, fourth = rows(rng, 9), rows(rng, 5), rows(rng, 300)
    return [first, first[::-1].copy(), third, fourth]


def test_resemblance_is_the_mean_of_both_mean_maxsims(documents):
    one, other = documents[0], documents[2]
    products = one.astype(np.float64) @ other.astype(np.float64).T
    expected = (products.max(axis=1).mean() + products.max(axis=0).mean()) / 2
    assert resemblance(one, other) == pytest.approx(expected, abs=1e-6)
    assert resemblance(one, other) == pytest.approx(resemblance(other, one), abs=1e-6)


def test_equal_documents_resemble_each_other_wholly(documents):
    assert resemblance(documents[0], documents[1]) == pytest.approx(1, abs=1e-5)


def test_without_a_share_the_order_is_that_of_relevance(documents):
    assert diverse([0.2, 0.9, 0.9, 0.5], documents, 4, 0.0) == [1, 2, 3, 0]


def test_a_repeated_document_falls_back(documents):
    assert diverse([0.9, 0.89, 0.6, 0.5], documents, 3, 0.5) == [0, 2, 3]
    assert diverse([0.9, 0.89, 0.6, 0.5], documents, 9, 0.5) == [0, 2, 3, 1]


def test_each_choice_is_the_best_by_the_formula():
    rng = np.random.default_rng(5)
    documents = [rows(rng, 7, 4) for _ in range(8)]
    relevance = rng.uniform(0, 1, 8).tolist()
    chosen = diverse(relevance, documents, 8, 0.4)
    for n, pick in enumerate(chosen):
        above = chosen[:n]
        worth = {
            d: 0.6 * relevance[d] - 0.4 * max((resemblance(documents[d], documents[a]) for a in above), default=0.0)
            for d in chosen[n:]
        }
        assert worth[pick] == pytest.approx(max(worth.values()), abs=1e-6)


def test_nothing_comes_from_nothing():
    assert diverse([], [], 3, 0.5) == []


def test_long_documents_that_repeat_each_other_are_seen_to():
    rng = np.random.default_rng(1)
    document = rows(rng, 1_580)
    shifted = np.concatenate([rows(rng, 1), document])
    assert resemblance(document, shifted) > 0.99
    assert resemblance(document, rows(rng, 1_580)) < 0.9
