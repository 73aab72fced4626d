"""A tiny BERT with random weights, as a folder and as a late-interaction model."""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

HIDDEN, DIM, CONTEXT = 32, 16, 64


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = string.ascii_lowercase + string.digits
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]", "[Q]", "[D]"]
    tokens += [*letters, *(f"##{letter}" for letter in letters), *string.punctuation, "the", "cat", "##ing"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=CONTEXT,
    )


def tiny_config(n_tokens: int, context: int = CONTEXT, **options: object) -> BertConfig:
    """Of a BERT of two layers; options as in ``BertConfig``."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=n_tokens,
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=context,
        **options,
    )


def tiny_bert(tokenizer: PreTrainedTokenizerFast, spread: float = 0.5) -> BertModel:
    import torch
    from transformers import BertModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BertModel(tiny_config(len(tokenizer), initializer_range=spread)).eval()


def tiny_projection():
    import torch

    return torch.randn(DIM, HIDDEN, generator=torch.Generator().manual_seed(1))


def tiny_encoder(bert_folder: Path, projection, strategy: str | None) -> MultiVectorEncoder:
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from torch.nn import Identity

    expansion = None if strategy is None else {"strategy": strategy, "length": 12, "attend": False}
    modules = [
        Transformer(str(bert_folder), query_expansion=expansion),
        Dense(
            HIDDEN,
            DIM,
            bias=False,
            activation_function=Identity(),
            init_weight=projection.clone(),
            module_input_name="token_embeddings",
        ),
        MultiVectorMask(skiplist_words=list(string.punctuation)),
        Normalize(module_input_name="token_embeddings"),
    ]
    return MultiVectorEncoder(modules=modules, prompts={"query": "q: ", "document": "d: "}, device="cpu")
