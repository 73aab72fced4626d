"""Hits that differ from one another: maximal marginal relevance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.kernels import token_similarities

__all__ = ["diverse", "resemblance"]

# a document asks another by at most so many of its tokens, evenly spread: pairs cost the product of both
_ASKING_TOKENS = 64


def diverse(
    relevance: Sequence[float], documents: Sequence[NDArray[np.floating[Any]]], k: int, share: float
) -> list[int]:
    """Choose ``k`` documents, each the best in relevance less resemblance (Carbonell and Goldstein 1998).

    Args:
        relevance: 0 to 1, one for each document.
        documents: ``(T, D)`` token vectors of each.
        k: How many at most.
        share: The weight of resemblance, 0 to 1; 1 less that is the weight of relevance.

    Returns:
        Positions in the order chosen.
    """
    left, chosen = list(range(len(documents))), list[int]()
    nearest = dict.fromkeys(left, 0.0)
    while left and len(chosen) < k:
        best = max(left, key=lambda n: ((1 - share) * relevance[n] - share * nearest[n], -n))
        left.remove(best)
        chosen.append(best)
        if len(chosen) < k:
            for n in left:
                nearest[n] = max(nearest[n], resemblance(documents[n], documents[best]))
    return chosen


def resemblance(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> float:
    """Mean MaxSim of two documents' tokens, in both directions; 1 for equal ones.

    Of a document of more than 64 tokens 64 are asked, evenly spread; they are looked for among all of the other's.
    """
    return (_mean_maxsim(one, other) + _mean_maxsim(other, one)) / 2


def _mean_maxsim(asking: NDArray[np.floating[Any]], asked: NDArray[np.floating[Any]]) -> float:
    n = len(asking)
    if n > _ASKING_TOKENS:
        asking = asking[np.linspace(0, n - 1, _ASKING_TOKENS).astype(np.int64)]
    similarities = token_similarities(np.asarray(asking, np.float32), asked)
    return float(similarities.max(axis=0).mean())
