"""A forward pass over texts of many lengths that computes little padding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["trimmed_forward"]

_ROWS = 24  # texts of like length that are padded to the longest of them


def trimmed_forward(
    forward: Callable[..., dict[str, Any]], features: Mapping[str, Any], **options: Any
) -> dict[str, Any]:
    """What ``forward(features)`` gives, computed for a few texts of like length at a time.

    Args:
        forward: Of a model whose rows do not depend on each other.
        features: A batch ``(B, T)`` that is padded on the right; of another form it is passed on whole.
        options: Passed on.

    Returns:
        The same ``token_embeddings`` ``(B, T', D)`` and ``attention_mask`` ``(B, T')``, padded with zeros.
    """
    mask = features.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.ndim != 2 or len(mask) <= _ROWS or not _is_padded_right(mask):
        return forward(dict(features), **options)
    order = torch.argsort(mask.sum(dim=1), stable=True)
    parts = [forward(_rows(features, rows), **options) for rows in torch.split(order, _ROWS)]
    width = max(part["attention_mask"].shape[1] for part in parts)
    back = torch.argsort(order)
    return {
        name: torch.cat([_widened(part[name], width) for part in parts])[back]
        for name in ("token_embeddings", "attention_mask")
    }


def _is_padded_right(mask: Tensor) -> bool:
    return bool((mask.diff(dim=1) <= 0).all())


def _rows(features: Mapping[str, Any], rows: Tensor) -> dict[str, Any]:
    """Some texts of a batch, without the columns that are padding in all of them."""
    shape = features["attention_mask"].shape
    width = int(features["attention_mask"][rows].sum(dim=1).max())
    return {
        name: value[rows, :width] if isinstance(value, Tensor) and value.shape == shape else value
        for name, value in features.items()
    }


def _widened(tensor: Tensor, width: int) -> Tensor:
    return pad(tensor, [0, 0] * (tensor.ndim - 2) + [0, width - tensor.shape[1]])
