"""Which of Jina's two backbones a checkpoint has, told from its config.json alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from colbert_rag.types import JsonValue

__all__ = ["Family", "family_of"]

Family: TypeAlias = Literal["alibi", "rotary"]


def family_of(config: Mapping[str, JsonValue]) -> Family | None:
    """Tell Jina's backbones from all others.

    Args:
        config: The content of a checkpoint's config.json, as published or as saved by us.

    Returns:
        ``"alibi"`` for JinaBERT (jina-colbert-v1-en), ``"rotary"`` for XLM-RoBERTa with rotary positions
        (jina-colbert-v2), None for anything else.
    """
    code = str(config.get("auto_map"))
    kind = config.get("model_type"), config.get("position_embedding_type")
    if "jina-bert-implementation" in code or kind == ("bert", "alibi"):
        return "alibi"
    if "xlm-roberta-flash-implementation" in code or kind == ("xlm-roberta", "rotary"):
        return "rotary"
    return "rotary" if kind[0] == "jina_embeddings_v3" else None
