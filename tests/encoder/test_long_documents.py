"""Nothing is cut off: every token of a document of any length has its vector and its place in the text."""

from __future__ import annotations

import random
import string
from pathlib import Path

import numpy as np
import pytest

from colbert_rag.encoder import Encoder

LENGTHS = [1, 2, 509, 510, 511, 512, 513, 8_189, 8_190, 8_191, 8_192, 8_193, 50_000]
HIDDEN, DIM = 16, 8


def long_text(n_tokens: int) -> tuple[str, list[tuple[int, int]]]:
    """A text of so many tokens, and where each stands that is no punctuation; known from how it was made."""
    rng = random.Random(n_tokens)
    text, spans = "", []
    for _ in range(n_tokens):
        token = rng.choice(string.punctuation if rng.random() < 0.15 else string.ascii_lowercase)
        if token not in string.punctuation:
            spans.append((len(text), len(text) + 1))
        text += token + rng.choice([" ", "  ", "\n", " \u2003"])
    return text, spans


def backbone(kind: str):
    import torch
    from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel

    with torch.random.fork_rng():
        torch.manual_seed(3)
        shape = {"vocab_size": 128, "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2}
        if kind == "short":
            return BertModel(BertConfig(**shape, intermediate_size=16, max_position_embeddings=512))
        config = ModernBertConfig(
            **shape,
            intermediate_size=16,
            max_position_embeddings=8192,
            global_attn_every_n_layers=2,
            pad_token_id=0,
            cls_token_id=2,
            sep_token_id=3,
            bos_token_id=2,
            eos_token_id=3,
        )
        return ModernBertModel(config)


@pytest.fixture(scope="module", params=["short", "long"])
def encoder(request, tiny_tokenizer, tmp_path_factory) -> Encoder:
    """A backbone of 512 tokens and one of 8,192, with random weights."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from torch.nn import Identity

    plain: Path = tmp_path_factory.mktemp("plain")
    model = backbone(request.param)
    model.save_pretrained(plain)
    tiny_tokenizer.save_pretrained(plain)
    context = model.config.max_position_embeddings
    projection = Dense(HIDDEN, DIM, bias=False, activation_function=Identity(), module_input_name="token_embeddings")
    modules = [
        Transformer(str(plain), max_seq_length=context),
        projection,
        MultiVectorMask(skiplist_words=list(string.punctuation)),
        Normalize(module_input_name="token_embeddings"),
    ]
    return Encoder(MultiVectorEncoder(modules=modules, device="cpu"))


@pytest.mark.parametrize("n_tokens", LENGTHS)
def test_every_token_off_the_skiplist_has_one_vector_and_its_place_in_the_text(encoder, n_tokens):
    text, spans = long_text(n_tokens)
    [document] = encoder.encode_documents([text])
    assert document.vectors.shape == (len(spans) + 2, DIM)
    assert document.spans[1:-1].tolist() == [list(span) for span in spans]
    np.testing.assert_allclose(np.linalg.norm(document.vectors.astype(np.float32), axis=1), 1, atol=2e-3)


def test_documents_of_all_lengths_in_one_call_come_back_in_order(encoder):
    texts = [long_text(n)[0] for n in (8_193, 1, 600, 3)]
    together = encoder.encode_documents(texts)
    for text, found in zip(texts, together, strict=True):
        [alone] = encoder.encode_documents([text])
        assert found.spans.tolist() == alone.spans.tolist()
        np.testing.assert_allclose(found.vectors.astype(np.float32), alone.vectors.astype(np.float32), atol=4e-3)


def test_a_document_within_the_context_goes_through_the_model_in_one_piece(encoder, monkeypatch):
    context = encoder._loaded().context
    text, _ = long_text(context - 2)
    pieces = []
    original = encoder._loaded().encode_ids

    def counted(batch, task):
        pieces.extend(len(ids) for ids in batch)
        return original(batch, task)

    monkeypatch.setattr(encoder._loaded(), "encode_ids", counted)
    encoder.encode_documents([text])
    assert pieces == [context]
    pieces.clear()
    encoder.encode_documents([text + " a"])
    assert len(pieces) == 2
    assert max(pieces) <= context
