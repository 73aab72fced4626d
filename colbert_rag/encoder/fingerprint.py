"""What identifies a model and its settings, as an index remembers it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from colbert_rag.types import JsonValue

if TYPE_CHECKING:
    import torch
    from sentence_transformers import MultiVectorEncoder

    from colbert_rag.encoder.token_model import TokenModel

__all__ = ["describe", "skiplist_digest", "weights_digest"]


def describe(token_model: TokenModel) -> dict[str, JsonValue]:
    """The part of a fingerprint that is read from the loaded model."""
    return {
        "weights_sha256": weights_digest(token_model.model.state_dict()),
        "skiplist_sha256": skiplist_digest(token_model.model),
        "dim": token_model.dim,
        "prompts": dict(token_model.prompts),
        "query_length": token_model.query_length,
        "query_expansion": token_model.query_expansion,
    }


def weights_digest(weights: Mapping[str, torch.Tensor]) -> str:
    """Sha256 over dtype, shape and bytes of all weights, in the order of their names.

    The names themselves are left out: they change between versions of sentence-transformers.
    """
    import torch

    digest = hashlib.sha256()
    for _, tensor in sorted(weights.items()):
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def skiplist_digest(model: MultiVectorEncoder) -> str:
    """Sha256 over what the model drops from scoring, and for which tasks."""
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    rules = [
        [sorted(module.skiplist_words), sorted(module.skiplist_tasks), module.keep_only_token_ids]
        for module in model
        if isinstance(module, MultiVectorMask)
    ]
    return hashlib.sha256(json.dumps(rules).encode()).hexdigest()
