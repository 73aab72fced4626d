"""One ranking from two: by ranks or by scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["reciprocal_rank_fusion", "weighted_fusion"]

# Cormack, Clarke and Buettcher 2009
_CONSTANT = 60


def reciprocal_rank_fusion(rankings: Sequence[Sequence[int]], weights: Sequence[float]) -> dict[int, float]:
    """The sum of ``weight / (60 + rank)`` over the rankings that hold a key (Cormack et al. 2009).

    Args:
        rankings: Keys, best first.
        weights: One for each ranking.
    """
    totals: dict[int, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, key in enumerate(ranking, start=1):
            totals[key] = totals.get(key, 0.0) + weight / (_CONSTANT + rank)
    return totals


def weighted_fusion(
    scores: Sequence[Mapping[int, float]], weights: Sequence[float], floors: Sequence[float | None]
) -> dict[int, float]:
    """A convex combination of scores that were each stretched to 0..1 (Bruch et al. 2023, section 4).

    Args:
        scores: Score by key; a key that is missing counts as the floor.
        weights: One for each, summing to 1.
        floors: For each what becomes 0: the least that a score can be, where that is known, or None for the
            lowest that occurs.

    Returns:
        Score by key, 0 to 1.
    """
    totals: dict[int, float] = dict.fromkeys((key for part in scores for key in part), 0.0)
    for part, weight, floor in zip(scores, weights, floors, strict=True):
        if not part:
            continue
        high = max(part.values())
        low = min(part.values()) if floor is None else floor
        for key, score in part.items():
            totals[key] += weight * ((score - low) / (high - low) if high > low else 1.0)
    return totals
