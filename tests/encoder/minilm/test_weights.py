"""The weights of a query's tokens, in numpy and as a module of sentence-transformers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder

from colbert_rag.encoder import Encoder
from colbert_rag.encoder.builtin import CURRENT, load_builtin, revision_of
from colbert_rag.encoder.minilm.parts import read_parts
from colbert_rag.encoder.minilm.weighting import QueryWeighting
from colbert_rag.encoder.minilm.weights import token_weights

DIRECTION = np.array([0.5, -0.5], np.float32)
UNITS = np.array([[[1, 0], [0, 1], [0.6, 0.8]]], np.float32)


def test_what_points_along_the_direction_counts_more():
    [found] = token_weights(UNITS, DIRECTION)
    expected = [math.exp(x) for x in (0.5, -0.5, -0.1)]
    np.testing.assert_allclose(found, np.array(expected) / np.mean(expected), rtol=1e-6)
    assert found.dtype == np.float32


def test_mean_is_one_in_each_query():
    np.testing.assert_allclose(token_weights(np.concatenate([UNITS, -UNITS]), DIRECTION).mean(axis=1), 1, rtol=1e-6)


def test_module_gives_the_same_whatever_the_padding():
    module = QueryWeighting.along(DIRECTION)
    padded = np.concatenate([UNITS, [[[1, 0]]]], axis=1).astype(np.float32)
    features = {"token_embeddings": torch.from_numpy(padded), "attention_mask": torch.tensor([[1, 1, 1, 0]])}
    lengths = module(features, task="query")["token_embeddings"].norm(dim=-1).numpy()
    np.testing.assert_allclose(lengths[:, :3], token_weights(UNITS, DIRECTION), rtol=1e-6)
    for task in ("document", None):
        assert torch.equal(module(features, task=task)["token_embeddings"], features["token_embeddings"])


@pytest.mark.parametrize("revision", ["3", CURRENT])
def test_what_ships_fits_the_model(revision):
    direction = read_parts(revision_of(revision).path, revision_of(revision).query_weights).direction
    assert (direction.dtype, direction.shape) == (np.float32, (128,))


def test_saved_model_weighs_as_the_built_in_one_does(tmp_path):
    query = "Where does the cat sleep?"
    load_builtin("cpu").save(str(tmp_path / "model"), create_model_card=False)
    [expected] = Encoder().encode_queries([query])
    [ours] = Encoder(tmp_path / "model", device="cpu", trust_remote_code=True).encode_queries([query])
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    theirs = MultiVectorEncoder(str(tmp_path / "model"), device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(theirs.encode_query(query, convert_to_numpy=True), expected, atol=1e-5)


@pytest.mark.parametrize("dim", [None, 64])
def test_with_torch_and_without_the_weights_are_the_same(dim):
    query = ["Where does the cat sleep?", "a"]
    light, heavy = Encoder(dim=dim), Encoder(load_builtin("cpu"), dim=dim)
    for ours, theirs in zip(light.encode_queries(query), heavy.encode_queries(query), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
