"""How far each file of tests goes beyond its everyday size in the time that there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from figures import Effort, sized

__all__ = ["LEAST", "Cost", "growing", "scales"]

# the scale at which a file tries what docs/promises.md asks of the long size; others go as far as time allows
LEAST = {
    "resources/test_churn.py": 1.0,
    "corruption/test_flips.py": 0.0095,
    "hostile/test_fuzz.py": 0.76,
    "crash/test_random_kills.py": 1.0,
    "concurrency/test_searching_during_writes.py": 0.0145,
}
_STEPS = 24


@dataclass(frozen=True)
class Cost:
    """What a file took at its everyday size.

    Attributes:
        fixed_s: Of starting, of fixtures, and of tests that have one size.
        efforts: Of the tests that have two.
    """

    fixed_s: float
    efforts: Sequence[Effort]

    @classmethod
    def measured(cls, seconds: float, efforts: Sequence[Effort]) -> Cost:
        """From the time of a whole run and what its tests took."""
        grows = [effort for effort in efforts if any(torture > everyday > 0 for everyday, torture in effort.sizes)]
        return cls(max(0.0, seconds - sum(effort.seconds for effort in grows)), grows)

    def at(self, scale: float) -> float:
        """Seconds at a scale, if a case costs what it cost at the everyday size."""
        return self.fixed_s + sum(effort.seconds * _growth(effort, scale) for effort in self.efforts)


def _growth(effort: Effort, scale: float) -> float:
    return max([1.0, *(sized(a, b, scale) / a for a, b in effort.sizes if a > 0)])


def growing(costs: Mapping[str, Cost]) -> dict[str, Cost]:
    """The files that have a long size."""
    return {name: cost for name, cost in costs.items() if cost.efforts}


def scales(costs: Mapping[str, Cost], work_s: float, wall_s: float, least: Mapping[str, float]) -> dict[str, float]:
    """A scale for each file: first all come to what is asked of them, then all as far on as there is time.

    Args:
        costs: Of the files.
        work_s: What all of them together may take, one after the other.
        wall_s: What one of them may take.
        least: The scales that are asked for.
    """
    asked = {name: least.get(name, 0.0) for name in costs}
    longest = {name: _most(lambda s, cost=cost: cost.at(s) <= wall_s) for name, cost in costs.items()}

    def mixed(share: float) -> dict[str, float]:
        """Up to 1: that part of what is asked for; from there to 2: of the rest of the way."""
        first, rest = min(share, 1.0), max(share - 1.0, 0.0)
        wanted = {name: first * scale + rest * (1.0 - scale) for name, scale in asked.items()}
        return {name: min(scale, longest[name]) for name, scale in wanted.items()}

    def fits(share: float) -> bool:
        return sum(costs[name].at(scale) for name, scale in mixed(2 * share).items()) <= work_s

    return mixed(2 * _most(fits))


def _most(holds: Callable[[float], bool]) -> float:
    """The largest number up to 1 for which something holds that holds below it; 0 where it holds for none."""
    if holds(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
