"""The forward pass against transformers' own BERT, on small models of several shapes with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from colbert_rag.encoder.minilm.bert import Bert

VOCABULARY, CONTEXT = 60, 40
SHAPES = [(32, 64, 4, 2), (48, 100, 3, 1), (24, 48, 1, 3)]


@pytest.fixture(params=SHAPES, ids=str)
def pair(request):
    """Ours and theirs, with weights as far from zero and one as trained ones are."""
    dim, wide, heads, layers = request.param
    torch.manual_seed(dim)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=dim,
        intermediate_size=wide,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        max_position_embeddings=CONTEXT,
        layer_norm_eps=1e-12,
    )
    theirs = BertModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    weights = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    return Bert(weights, heads), theirs


def ids_of(n_texts, n_tokens):
    return np.random.default_rng(n_tokens).integers(0, VOCABULARY, (n_texts, n_tokens))


@pytest.mark.parametrize(("n_texts", "n_tokens"), [(1, 1), (1, 7), (3, 16), (2, 33), (1, CONTEXT)])
def test_vectors_equal_those_of_transformers(pair, n_texts, n_tokens):
    ours, theirs = pair
    ids = ids_of(n_texts, n_tokens)
    with torch.inference_mode():
        expected = theirs(input_ids=torch.from_numpy(ids)).last_hidden_state.numpy()
    found = ours(ids)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_sequence_has_the_same_bits_alone_and_in_a_batch(pair):
    ours, _ = pair
    ids = ids_of(5, 21)
    together = ours(ids)
    for n in range(len(ids)):
        assert np.array_equal(ours(ids[n : n + 1])[0], together[n])


def test_the_context_is_that_of_the_position_table(pair):
    assert pair[0].context == CONTEXT
