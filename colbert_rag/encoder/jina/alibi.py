"""JinaBERT (jina-colbert-v1-en): BERT with bidirectional ALiBi and a gated feed-forward.

Papers: Jina Embeddings 2 (arXiv 2310.19923), section 3.1; ALiBi (arXiv 2108.12409), section 3;
GLU variants (arXiv 2002.05202), section 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import BertConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.bert.modeling_bert import BertSelfOutput

from colbert_rag.encoder.jina.weights import Source
from colbert_rag.errors import ModelUnsupportedError
from colbert_rag.types import JsonValue

__all__ = [
    "INIT_OPTIONS",
    "PREFIX",
    "JinaBertModel",
    "alibi_attention",
    "alibi_slopes",
    "config_from",
    "model_class",
    "source_of",
]

PREFIX = "bert."
INIT_OPTIONS: dict[str, bool] = {}
GATES = {"geglu": nn.GELU, "reglu": nn.ReLU}
# elements of the bias that exist at one time, 32 MiB in float32; whole, it would be 3 GiB for 8,192 tokens
BLOCK_ELEMENTS = 2**23  # fastest of 2**18 to 2**25 at 8,192 tokens on one CPU core


def config_from(stored: Mapping[str, JsonValue]) -> BertConfig:
    """Read config.json, without the mention of remote code.

    Raises:
        ModelUnsupportedError: positions or feed-forward are of another kind.
    """
    for key, supported in (("position_embedding_type", ("alibi",)), ("feed_forward_type", tuple(GATES))):
        if stored.get(key) not in supported:
            raise ModelUnsupportedError(
                f"config.json names JinaBERT with {key}={stored.get(key)!r}; supported: {', '.join(supported)}."
            )
    config: BertConfig = BertConfig.from_dict({key: value for key, value in stored.items() if key != "auto_map"})
    return config


def model_class() -> type[PreTrainedModel]:
    """The class of the backbone."""
    return JinaBertModel


def source_of(name: str) -> Source:
    """The stored tensor behind a parameter: the names are the same."""
    return Source(name)


def alibi_slopes(n_heads: int) -> torch.Tensor:
    """The slope of each head, ``(H,) float32``: a geometric sequence from 2^(-8/H) down to 2^-8.

    Where H is no power of two, the heads past the largest one below take every second slope of twice that.
    """
    n_even = 2 ** int(math.log2(n_heads))
    even = [2 ** (-8 * head / n_even) for head in range(1, n_even + 1)]
    between = [2 ** (-4 * head / n_even) for head in range(1, 2 * n_even, 2)]
    return torch.tensor((even + between)[:n_heads])


def alibi_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    dropout: float = 0.0,
    block_elements: int = BLOCK_ELEMENTS,
) -> torch.Tensor:
    """Attend with scores lowered by slope times distance, in blocks of query rows to bound memory.

    The bias is constant along its diagonals, so with the rows in reverse order each row is a window into
    one vector, a step further than the row before: a view, of which only a block with padding is copied.

    Args:
        query: ``(B, H, T, d)`` floating point, as are key and value.
        key: What is attended to.
        value: What is taken from there.
        mask: ``(B, T) bool``, False for padding; None for no padding.
        dropout: Share of the attention weights that are dropped.
        block_elements: Elements that the bias may have at one time.

    Returns:
        ``(B, H, T, d)``, of the query's dtype.
    """
    n_sequences, n_heads, n_tokens, _ = query.shape
    n_rows = max(1, block_elements // (n_sequences * n_heads * n_tokens))
    distances = torch.arange(1 - n_tokens, n_tokens, device=query.device).abs()
    diagonals = -alibi_slopes(n_heads).to(query.device)[:, None] * distances  # (H, 2T - 1)
    bias = diagonals.to(query.dtype).unfold(1, n_tokens, 1)[None]  # (1, H, T, T)
    reverse = query.flip(2)
    blocks = []
    for start in range(0, n_tokens, n_rows):
        rows = slice(start, start + n_rows)
        added = bias[:, :, rows]
        if mask is not None:
            added = added.masked_fill(~mask[:, None, None, :], torch.finfo(query.dtype).min)
        blocks.append(scaled_dot_product_attention(reverse[:, :, rows], key, value, attn_mask=added, dropout_p=dropout))
    return torch.cat(blocks, dim=2).flip(2)


class Embeddings(nn.Module):
    """Word and segment vectors, without positions."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: torch.Tensor, token_type_ids: torch.Tensor) -> torch.Tensor:
        summed = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        normalised: torch.Tensor = self.dropout(self.LayerNorm(summed))
        return normalised


class SelfAttention(nn.Module):
    """Multi-head attention whose positions are distances alone."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.n_heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        query, key, value = (
            project(hidden).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        return alibi_attention(query, key, value, mask, dropout=dropout).transpose(1, 2).flatten(-2)


class GatedFeedForward(nn.Module):
    """One half of a projection gates the other; then the residual and its normalisation."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.gated_layers = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.gate = GATES[config.feed_forward_type]()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.wo = nn.Linear(config.intermediate_size, config.hidden_size)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        gates, values = self.gated_layers(hidden).chunk(2, dim=-1)
        updated: torch.Tensor = self.layernorm(self.wo(self.dropout(self.gate(gates) * values)) + hidden)
        return updated


class Layer(nn.Module):
    """Attention and feed-forward, each normalised after its residual."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        output = BertSelfOutput(config)  # type: ignore[no-untyped-call]
        self.attention = nn.ModuleDict({"self": SelfAttention(config), "output": output})
        self.mlp = GatedFeedForward(config)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        attended = self.attention["self"](hidden, mask)
        updated: torch.Tensor = self.mlp(self.attention["output"](attended, hidden))
        return updated


class JinaBertModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    """The backbone, with parameters named as in the published checkpoints.

    Args:
        config: BERT's, with ``feed_forward_type``.
    """

    config_class = BertConfig
    base_model_prefix = "bert"
    _supports_sdpa = True

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))})
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> BaseModelOutput | tuple[torch.Tensor, ...]:
        """Encode token ids.

        Args:
            input_ids: ``(B, T) int64``.
            attention_mask: ``(B, T)``, zero for padding; None for no padding.
            token_type_ids: ``(B, T) int64``; None for zeros.
            return_dict: Whether to name the output.

        Returns:
            ``last_hidden_state``, ``(B, T, hidden_size)``.
        """
        mask = None if attention_mask is None or attention_mask.all() else attention_mask.bool()
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        hidden = self.embeddings(input_ids, types)
        for layer in self.encoder["layer"].children():
            hidden = layer(hidden, mask)
        return BaseModelOutput(last_hidden_state=hidden) if return_dict else (hidden,)
