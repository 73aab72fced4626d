"""``token_weights`` as a module of sentence-transformers: the length of a query's vector is its weight."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers.base.modules.module import Module

from colbert_rag.types import Float32Array

__all__ = ["QueryWeighting"]


class QueryWeighting(Module):
    """The last module of a model: stretches a query's unit vectors and leaves those of documents as they are.

    Args:
        dim: Dimensions of the vectors.
    """

    config_keys = ["dim"]  # noqa: RUF012
    forward_kwargs = {"task"}  # noqa: RUF012

    def __init__(self, dim: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dim = dim
        self.direction = torch.nn.Parameter(torch.zeros(dim), requires_grad=False)

    @classmethod
    def along(cls, direction: Float32Array) -> QueryWeighting:
        """The module that weighs by a direction ``(D,)``."""
        module = cls(len(direction))
        module.load_state_dict({"direction": torch.from_numpy(direction)})
        return module

    def forward(self, features: dict[str, Any], task: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Multiply ``token_embeddings`` ``(B, T, D)`` of queries by weights whose mean over a query's tokens is 1."""
        if task != "query":
            return features
        units, is_token = features["token_embeddings"], features["attention_mask"].bool()
        weights = torch.exp(units @ self.direction) * is_token
        # no row of tokens is empty but for one that nobody reads, which must not warn of nan
        mean = weights.sum(dim=1, keepdim=True) / is_token.sum(dim=1, keepdim=True).clamp_min(1)
        return {**features, "token_embeddings": units * (weights / mean.clamp_min(1e-30))[..., None]}

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the module as sentence-transformers does its own."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, *args: Any, **kwargs: Any) -> QueryWeighting:
        """Read what :meth:`save` wrote."""
        module: QueryWeighting = super().load(model_name_or_path, *args, **kwargs)
        keys = ("subfolder", "token", "cache_folder", "revision", "local_files_only")
        place = {key: kwargs[key] for key in keys if key in kwargs}
        cls.load_torch_weights(model_name_or_path, **place, model=module)
        return module
