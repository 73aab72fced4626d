"""The size of the tests that try many cases, what they counted, and what each test cost."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Effort", "Figures", "sized"]


def sized(everyday: float, torture: float, scale: float) -> int:
    """How many cases between the everyday size, at a scale of 0, and the long one, at 1."""
    return round(everyday + (torture - everyday) * scale)


@dataclass
class Effort:
    """What one test took, so that its time at another scale can be told.

    Attributes:
        seconds: Of the test without its fixtures.
        sizes: The everyday and the long size of everything that it asked for.
    """

    seconds: float = 0.0
    sizes: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Figures:
    """Counts of one run of the tests, for the table of promises.

    Attributes:
        scale: Of the sizes: 0 is everyday, 1 the long one.
        seed: Of every random choice; printed, and set by ``--seed``.
        processes: How many a test that shares its cases among processes may start.
        counts: What was tried and what failed, by name.
        efforts: By test.
    """

    scale: float
    seed: int
    processes: int = 1
    counts: Counter[str] = field(default_factory=Counter)
    efforts: dict[str, Effort] = field(default_factory=dict)
    current: str = ""

    @property
    def is_torture(self) -> bool:
        """Whether more than the everyday size runs."""
        return self.scale > 0

    def size(self, everyday: int, torture: int) -> int:
        """How many cases to try."""
        self.effort().sizes.append((everyday, torture))
        return sized(everyday, torture, self.scale)

    def effort(self) -> Effort:
        """Of the test that runs now."""
        return self.efforts.setdefault(self.current, Effort())

    def add(self, name: str, count: int = 1) -> None:
        """Count cases that were tried; the name is a row of the table, as in "random kills"."""
        self.counts[name] += count

    def write(self, path: Path) -> None:
        """As JSON, whole or not at all: a run that is killed leaves what it had counted before."""
        said = {
            "seed": self.seed,
            "scale": self.scale,
            "counts": self.counts,
            "efforts": [asdict(effort) for effort in self.efforts.values()],
        }
        new = path.with_suffix(".new")
        new.write_text(json.dumps(said, indent=1))
        new.replace(path)
