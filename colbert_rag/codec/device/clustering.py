"""Spherical k-means on a device."""

from __future__ import annotations

import numpy as np
import torch

from colbert_rag.codec.nearest import Vectors
from colbert_rag.types import Float32Array

__all__ = ["kmeans", "nearest"]

# scores with centroids that are held at once: 512 MB
_SCORES = 1 << 27
_ITERATIONS = 6


def nearest(points: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """The centroid with the largest dot product, ``(T,) int64``, in pieces of bounded memory."""
    step = max(1, _SCORES // len(centroids))
    parts = [(points[a : a + step] @ centroids.T).argmax(dim=1) for a in range(0, len(points), step)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64, device=points.device)


def kmeans(points: Vectors, k: int, seed: int, device: torch.device) -> Float32Array:
    """Centroids of unit length, ``(k, D) float32``.

    A cluster that becomes empty begins anew at a random point. A GPU sums in an order of its own, so that one seed need
    not give the same last digits twice.

    Args:
        points: ``(S, D)``, unit rows, S at least ``k``; all of them lie on the device, as float32.
        k: Number of centroids.
        seed: Of the points that clusters begin at.
        device: Where.
    """
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(np.ascontiguousarray(points)).to(device, torch.float32)
    centroids = rows[torch.from_numpy(rng.choice(len(points), k, replace=False)).to(device)]
    for _ in range(_ITERATIONS):
        owners = nearest(rows, centroids)
        sums = torch.zeros_like(centroids).index_add_(0, owners, rows)
        others = rows[torch.from_numpy(rng.choice(len(points), k, replace=False)).to(device)]
        is_empty = torch.zeros(k, dtype=torch.bool, device=device).index_fill_(0, owners, True).logical_not_()
        centroids = torch.nn.functional.normalize(torch.where(is_empty[:, None], others, sums), dim=1)
    found: Float32Array = centroids.cpu().numpy()
    return found
