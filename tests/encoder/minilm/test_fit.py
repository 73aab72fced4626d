from __future__ import annotations

import gzip
import json
import random

import numpy as np

from colbert_rag.encoder import Encoder
from colbert_rag.encoder.minilm.fit import fit, principal_axes, sample_pairs


def test_axes_are_eigenvectors_by_falling_eigenvalue_with_fixed_signs():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 6)) * [1, 5, 2, 4, 3, 6]
    moment = rows.T @ rows / 500
    axes = principal_axes(moment, 4)
    assert axes.dtype == np.float32
    spread = np.einsum("kd,de,ke->k", axes, moment, axes)
    np.testing.assert_allclose(spread, np.sort(np.linalg.eigvalsh(moment))[::-1][:4], rtol=1e-4)
    assert (axes[np.arange(4), np.abs(axes).argmax(axis=1)] > 0).all()


def test_sample_has_different_documents_and_follows_the_seed(tmp_path):
    path = tmp_path / "pairs.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for n in range(50):
            file.write(json.dumps({"query": f"query {n}", "positive": f"text {n % 20}"}) + "\n")
    documents, queries = sample_pairs(path, 10, random.Random(0))
    assert len(set(documents)) == len(set(queries)) == 10
    assert sample_pairs(path, 10, random.Random(0)) == (documents, queries)
    assert sample_pairs(path, 10, random.Random(1)) != (documents, queries)
    assert len(sample_pairs(path, 30, random.Random(0))[0]) == 20


def test_projection_keeps_most_of_the_token_vectors(tiny_model):
    encoder = Encoder(tiny_model)
    documents, queries = [f"the cat {'abc ' * n}" for n in range(9)], ["cat", "the abc"]
    whole = fit(encoder, documents, queries, 16)
    np.testing.assert_allclose(whole @ whole.T, np.eye(16), atol=1e-5)
    vectors = np.concatenate([document.vectors for document in encoder.encode_documents(documents)]).astype(np.float32)
    kept = np.square(vectors @ fit(encoder, documents, queries, 8).T).sum(axis=1)
    lost = np.square(vectors @ whole[8:].T).sum(axis=1)
    assert kept.mean() > lost.mean()
