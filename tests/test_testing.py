from __future__ import annotations

import subprocess
import sys

import numpy as np

from colbert_rag.testing import HashEncoder
from colbert_rag.types import TextEncoder


def test_hash_encoder_follows_the_protocol():
    assert isinstance(HashEncoder(), TextEncoder)


def test_same_word_has_the_same_vector_in_documents_and_queries():
    encoder = HashEncoder(dim=48)
    [document] = encoder.encode_documents(["A cat and a dog."])
    [query] = encoder.encode_queries(["CAT"])
    assert document.vectors.dtype == np.float16
    assert query.dtype == np.float32
    assert document.vectors.shape == (5, 48)
    np.testing.assert_allclose(document.vectors[1].astype(np.float32), query[0], atol=1e-3)
    assert abs(document.vectors[4].astype(np.float32) @ query[0]) < 0.7


def test_vectors_have_unit_length_and_spans_their_words():
    text = "the quick, brown fox"
    [document] = HashEncoder().encode_documents([text])
    np.testing.assert_allclose(np.linalg.norm(document.vectors.astype(np.float32), axis=1), 1, atol=2e-3)
    assert [text[start:end] for start, end in document.spans] == ["the", "quick", "brown", "fox"]


def test_text_without_words_has_one_vector():
    [document] = HashEncoder().encode_documents(["?!"])
    assert document.vectors.shape == (1, 32)
    assert document.spans.tolist() == [[0, 0]]


def test_vectors_are_the_same_in_another_process_and_without_torch():
    code = (
        "import sys; from colbert_rag.testing import HashEncoder; "
        "print(HashEncoder().encode_queries(['cat'])[0][0, 0].item().hex()); assert 'torch' not in sys.modules"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == HashEncoder().encode_queries(["cat"])[0][0, 0].item().hex()


def test_another_seed_gives_other_vectors_and_another_fingerprint():
    one, other = HashEncoder(), HashEncoder(seed=1)
    assert not np.allclose(one.encode_queries(["cat"])[0], other.encode_queries(["cat"])[0])
    assert one.fingerprint != other.fingerprint


def test_progress_counts_documents():
    calls = []
    HashEncoder().encode_documents(["a", "b"], progress=lambda *call: calls.append(call))
    assert calls == [("encode", 1, 2), ("encode", 2, 2)]
