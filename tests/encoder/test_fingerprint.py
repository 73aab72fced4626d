from __future__ import annotations

import hashlib
import json

import torch

from colbert_rag.encoder import Encoder
from colbert_rag.encoder.fingerprint import skiplist_digest, weights_digest


def test_digest_is_sha256_over_kind_shape_and_bytes_in_the_order_of_names():
    weights = {"b": torch.tensor(2.0), "a": torch.tensor([[1, 2]], dtype=torch.int64)}
    expected = hashlib.sha256(b"torch.int64 (1, 2);" + weights["a"].numpy().tobytes())
    expected.update(b"torch.float32 ();" + weights["b"].numpy().tobytes())
    assert weights_digest(weights) == expected.hexdigest()


def test_digest_reads_half_precision_and_strided_weights():
    strided = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).T
    assert weights_digest({"a": strided}) == weights_digest({"a": strided.contiguous()})


def test_digest_follows_the_values():
    one, other = {"a": torch.zeros(2)}, {"a": torch.tensor([0.0, 1e-9])}
    assert weights_digest(one) != weights_digest(other)


def test_fingerprint_is_the_same_for_a_folder_and_the_loaded_model(tiny_folder, tiny_model):
    loaded, live = Encoder(tiny_folder, device="cpu").fingerprint, Encoder(tiny_model).fingerprint
    assert loaded.pop("model") == str(tiny_folder)
    assert live.pop("model") is None
    assert loaded == live
    assert json.loads(json.dumps(loaded)) == loaded


def test_fingerprint_holds_what_shapes_the_vectors(tiny_folder):
    fingerprint = Encoder(tiny_folder, device="cpu").fingerprint
    assert fingerprint["prompts"] == {"document": "d: ", "query": "q: "}
    assert fingerprint["document_length"] == 64
    assert fingerprint["query_length"] == 12
    assert fingerprint["query_expansion"]["strategy"] == "fixed"
    assert fingerprint["dim"] == 16


def test_skiplist_digest_follows_the_skiplist(tiny_model):
    before = skiplist_digest(tiny_model)
    tiny_model[2].skiplist_words.append("the")
    assert skiplist_digest(tiny_model) != before
