"""How much each token of a query counts: most similarities that MaxSim adds up tell no answer from another."""

from __future__ import annotations

import numpy as np

from colbert_rag.types import Float32Array

__all__ = ["token_weights"]


def token_weights(units: Float32Array, direction: Float32Array) -> Float32Array:
    """Weights of a query's tokens, by their vectors, which know their neighbours.

    Args:
        units: ``(..., Q, D)``, of unit length.
        direction: ``(D,)``; what points along it counts more.

    Returns:
        ``(..., Q) float32``, of mean 1 in each query, so that MaxSim is at most the number of its tokens.
    """
    # each row is summed alone: a query has the same bits in any batch
    weights = np.exp((units * direction).sum(axis=-1))
    mean_one: Float32Array = weights / weights.mean(axis=-1, keepdims=True)
    return mean_one
