"""XLM-RoBERTa with rotary positions (jina-colbert-v2), on the class that transformers has for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from colbert_rag.encoder.jina.weights import Source
from colbert_rag.errors import ModelUnsupportedError
from colbert_rag.types import JsonValue

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

__all__ = ["INIT_OPTIONS", "PREFIX", "config_from", "model_class", "source_of"]

PREFIX = "roberta."
INIT_OPTIONS = {"add_pooling_layer": False}
THETA = 10_000.0  # of the family, where config.json states none
SAME_KEYS = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "type_vocab_size", "initializer_range"),
    *("layer_norm_eps", "pad_token_id", "bos_token_id", "eos_token_id"),
)
STORED_NAMES = {
    "embeddings.LayerNorm": "emb_ln",
    "self_attn.o_proj": "mixer.out_proj",
    "post_attention_layernorm": "norm1",
    "post_mlp_layernorm": "norm2",
}
STORED_PARTS = ("q_proj", "k_proj", "v_proj")  # in the order in which mixer.Wqkv holds them


def config_from(stored: Mapping[str, JsonValue]) -> PretrainedConfig:
    """Translate config.json into that of transformers' class for the same architecture.

    ``max_position_embeddings`` comes out as the tokens that fit: the published number counts the
    positions up to padding's too, as RoBERTa does, though rotary positions have no table.

    Raises:
        ModelUnsupportedError: positions are not rotary, or transformers is too old to have the class.
    """
    config_class, _ = _classes()
    if stored.get("model_type") == config_class.model_type:
        config: PretrainedConfig = config_class.from_dict(dict(stored))
        return config
    if stored.get("position_embedding_type") != "rotary":
        raise ModelUnsupportedError(
            f"config.json names Jina's XLM-RoBERTa with position_embedding_type="
            f"{stored.get('position_embedding_type')!r}; only 'rotary' is supported."
        )
    same = {key: stored[key] for key in SAME_KEYS if key in stored}
    config = config_class(**same)
    n_positions = stored.get("max_position_embeddings", config.max_position_embeddings)
    config.max_position_embeddings = n_positions - config.pad_token_id - 1
    config.rope_parameters = {"rope_type": "default", "rope_theta": float(stored.get("rotary_emb_base") or THETA)}
    return config


def model_class() -> type[PreTrainedModel]:
    """The class of the backbone.

    Raises:
        ModelUnsupportedError: transformers is too old to have it.
    """
    return _classes()[1]


def source_of(name: str) -> Source:
    """The stored tensor behind a parameter of transformers' class."""
    for ours, theirs in STORED_NAMES.items():
        name = name.replace(ours, theirs)
    name = re.sub(r"^layers\.", "encoder.layers.", name)
    if match := re.search(r"self_attn\.(\w_proj)", name):
        return Source(name.replace(match[0], "mixer.Wqkv"), STORED_PARTS.index(match[1]), len(STORED_PARTS))
    return Source(name)


def _classes() -> tuple[type[PretrainedConfig], type[PreTrainedModel]]:
    try:
        from transformers import JinaEmbeddingsV3Config, JinaEmbeddingsV3Model
    except ImportError as error:
        from transformers import __version__

        raise ModelUnsupportedError(
            f"This model needs transformers 5.4 or newer, which has its architecture; {__version__} is installed. "
            f'Run: pip install "transformers>=5.4".'
        ) from error
    return JinaEmbeddingsV3Config, JinaEmbeddingsV3Model
