"""Two sizes of the tests that try many cases, and what they counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Figures"]


@dataclass
class Figures:
    """Counts of one run of the tests, for the table of promises.

    Attributes:
        is_torture: Whether the long sizes run.
        seed: Of every random choice; printed, and set by ``--seed``.
        counts: What was tried and what failed, by name.
    """

    is_torture: bool
    seed: int
    counts: Counter[str] = field(default_factory=Counter)

    def size(self, everyday: int, torture: int) -> int:
        """How many cases to try."""
        return torture if self.is_torture else everyday

    def add(self, name: str, count: int = 1) -> None:
        """Count cases that were tried; the name is a row of the table, as in "random kills"."""
        self.counts[name] += count
