from __future__ import annotations

import gzip
import json
import random

import numpy as np
import pytest
from safetensors.numpy import load_file

from colbert_rag.encoder import Encoder
from colbert_rag.encoder.minilm import fit as fit_module
from colbert_rag.encoder.minilm.fit import fit, main, principal_axes, sample_documents


def test_axes_are_eigenvectors_by_falling_eigenvalue_with_fixed_signs():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 6)) * [1, 5, 2, 4, 3, 6]
    moment = rows.T @ rows / 500
    axes = principal_axes(moment, 4)
    assert axes.dtype == np.float32
    spread = np.einsum("kd,de,ke->k", axes, moment, axes)
    np.testing.assert_allclose(spread, np.sort(np.linalg.eigvalsh(moment))[::-1][:4], rtol=1e-4)
    assert (axes[np.arange(4), np.abs(axes).argmax(axis=1)] > 0).all()


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for n in range(50):
            file.write(json.dumps({"query": f"query {n}", "positive": f"the cat {n % 20}"}) + "\n")
    return path


def test_sample_has_different_documents_and_follows_the_seed(pairs):
    documents = sample_documents(pairs, 10, random.Random(0))
    assert len(set(documents)) == 10
    assert sample_documents(pairs, 10, random.Random(0)) == documents
    assert sample_documents(pairs, 10, random.Random(1)) != documents
    assert len(sample_documents(pairs, 30, random.Random(0))) == 20


def test_projection_holds_the_principal_axes_of_the_document_tokens(tiny_model):
    encoder = Encoder(tiny_model)
    documents = [f"the cat {'abc ' * n}" for n in range(9)]
    vectors = np.concatenate([document.vectors for document in encoder.encode_documents(documents)]).astype(np.float64)
    expected = np.linalg.svd(vectors)[2][:3]
    found = fit(encoder, documents, 3)
    np.testing.assert_allclose(np.abs(found @ expected.T), np.eye(3), atol=1e-4)


def test_script_writes_the_same_file_again(pairs, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_module, "backbone_encoder", lambda: Encoder(tiny_model))
    outputs = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    for output in outputs:
        main([f"{pairs}=10", "--dim", "5", "--seed", "3", "--output", str(output)])
    assert load_file(outputs[0])["weight"].shape == (5, 16)
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
