"""Several losses, at several numbers of dimensions, from one pass of the model over a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from colbert_rag.training.trimmed import trimmed_forward

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

__all__ = ["SharedForwardLoss"]


class SharedForwardLoss(nn.Module):
    """The weighted sum of losses that encode the same columns in the same order, summed over leading dimensions.

    ``MatryoshkaLoss`` of sentence-transformers does this for one vector a text; here it is token vectors, and the
    weight of each number of dimensions is 1 (arXiv 2205.13147).

    Args:
        model: The model that all losses hold.
        terms: Losses without gradient caching, with their weights.
        dims: Numbers of leading dimensions; vectors get their length again.
    """

    def __init__(
        self, model: MultiVectorEncoder, terms: Sequence[tuple[nn.Module, float]], dims: Sequence[int]
    ) -> None:
        super().__init__()
        self.model = model
        self.losses = nn.ModuleList(loss for loss, _ in terms)
        self.weights = [weight for _, weight in terms]
        self.dims = list(dims)

    def forward(self, sentence_features: list[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """The sum for a batch; each column is encoded once."""
        parts: list[Tensor] = []
        with _replayed(self.model) as rewind:
            for dim in self.dims:
                for loss, weight in zip(self.losses, self.weights, strict=True):
                    rewind(dim)
                    parts.append(weight * loss(sentence_features, labels))
        return torch.stack(parts).sum()


@contextmanager
def _replayed(model: nn.Module) -> Iterator[Callable[[int], None]]:
    """Let the model's n-th call since a rewind give the first n-th call's vectors, cut to the dimensions."""
    original: Any = model.forward
    outputs: list[dict[str, Any]] = []
    position, dim = 0, 0

    def rewind(new_dim: int) -> None:
        nonlocal position, dim
        position, dim = 0, new_dim

    def forward(*args: Any, **kwargs: Any) -> dict[str, Any]:
        nonlocal position
        if position == len(outputs):
            outputs.append(trimmed_forward(original, *args, **kwargs))
        output = outputs[position]
        position += 1
        return {**output, "token_embeddings": _cut(output["token_embeddings"], dim)}

    model.forward = forward
    try:
        yield rewind
    finally:
        model.forward = original


def _cut(vectors: Tensor, dim: int) -> Tensor:
    if dim == vectors.shape[-1]:
        return vectors
    # of a query that is weighed, the length is a token's weight
    cut: Tensor = nn.functional.normalize(vectors[..., :dim], dim=-1) * vectors.norm(dim=-1, keepdim=True)
    return cut
