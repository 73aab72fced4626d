"""The rows that a run of torture leaves in the documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["COLUMNS", "FAILURES", "GOALS", "MUTANTS", "SKIPPED", "Goal", "Run", "record"]

FAILURES = "failures"
SKIPPED = "skipped tests"
MUTANTS = "mutants"


@dataclass(frozen=True)
class Goal:
    """Least numbers of cases.

    Attributes:
        everyday: Of `make test`; 0 where it tries none.
        torture: Of the long size.
        aim: What the long size comes to with all the time it wants.
    """

    everyday: int
    torture: int
    aim: int


# rows that are not here have no goal of their own
GOALS = {
    "commits of racing writers": Goal(320, 320, 40_000),
    "files truncated, extended, zeroed, deleted, replaced or swapped": Goal(500, 500, 20_000),
    "fuzzed inputs": Goal(65_000, 1_000_000, 1_300_000),
    "hostile indexes": Goal(60, 60, 60),
    "ids and texts of any Unicode": Goal(2_000, 2_000, 100_000),
    "kills at a call": Goal(300, 300, 300),
    MUTANTS: Goal(0, 12, 12),
    "openings without a leak": Goal(200, 200, 1_000),
    "power losses": Goal(5_000, 5_000, 100_000),
    "random flips": Goal(2_000, 10_000, 1_000_000),
    "random kills": Goal(200, 10_000, 10_000),
    "runs of the model": Goal(200, 200, 5_000),
    "searches during writes": Goal(1_000, 2_000, 1_000_000),
    "seconds of searches during writes": Goal(16, 60, 3_600),
    "sizes of a full disk": Goal(20, 20, 200),
    "steps of the model": Goal(10_000, 10_000, 500_000),
    "upserts of churn": Goal(400, 10_000, 20_000),
}
# columns of the README's table, and the words by which a figure belongs to one
COLUMNS = {
    "kills": ("kills",),
    "power losses": ("power losses",),
    "failing calls and full disks": ("failing calls", "full disk"),
    "flips and other damage": ("random flips", "flipped", "files truncated"),
    "hostile indexes": ("hostile indexes",),
    "fuzzed inputs": ("fuzz", "texts and ids"),
    "steps of the model": ("steps of the model",),
    "searches during writes": ("searches during writes",),
    MUTANTS: (MUTANTS,),
    FAILURES: (FAILURES,),
}
# rows that say how others were counted
_PARTS = ("random flips ", "seconds ")


@dataclass
class Run:
    """What a run tried.

    Attributes:
        counts: Cases by name; "failures" are tests that failed and mutants that survived, "skipped tests" such as this
            machine cannot run.
        scales: How far each file with two sizes went from the everyday one, 0, to the long one, 1.
    """

    counts: Counter[str] = field(default_factory=Counter)
    scales: dict[str, float] = field(default_factory=dict)


def record(run: Run, root: Path, where: tuple[str, str, int], *, is_everyday: bool) -> None:
    """Add the run to the tables of the documents: its date, its commit and its seed in ``where``."""
    lines = _everyday(run) if is_everyday else _torture(run)
    title = f"{where[0]}, commit {where[1]}, seed {where[2]}{_how_far(run)}:"
    _replace(root / "docs" / "promises.md", "everyday" if is_everyday else "torture", [title, "", *lines])
    if not is_everyday:
        sums = [_sum(run.counts, words) for words in COLUMNS.values()]
        _append(root / "README.md", "torture", f"| {' | '.join([*where[:2], *(f'{n:,}' for n in sums)])} |")


def _everyday(run: Run) -> list[str]:
    goals = {name: goal.everyday for name, goal in GOALS.items() if goal.everyday}
    counts = dict.fromkeys(goals, 0) | run.counts
    rows = [f"| {name} | {_shown(goals.get(name))} | {count:,} |" for name, count in sorted(counts.items())]
    return ["| cases | at least | tried |", "|---|---|---|", *rows]


def _torture(run: Run) -> list[str]:
    counts = dict.fromkeys(GOALS, 0) | run.counts
    rows = []
    for name, count in sorted(counts.items()):
        goal = GOALS.get(name)
        least, aim = (None, None) if goal is None else (goal.torture, goal.aim)
        rows.append(f"| {name} | {_shown(least)} | {_shown(aim)} | {count:,} |")
    return ["| cases | at least | aim | tried |", "|---|---|---|---|", *rows]


def _how_far(run: Run) -> str:
    short = [f"{name.replace('/test_', '/').removesuffix('.py')} {scale:.2g}" for name, scale in run.scales.items()]
    return f"; of the way to the long size: {', '.join(sorted(short))}" if short else ""


def _shown(goal: int | None) -> str:
    return "" if goal is None else f"{goal:,}"


def _sum(counts: Mapping[str, int], words: Sequence[str]) -> int:
    named = {name: count for name, count in counts.items() if not name.startswith(_PARTS)}
    return sum(count for name, count in named.items() if any(word in name for word in words))


def _replace(page: Path, marker: str, lines: Sequence[str]) -> None:
    """Put lines between the two comments of that name."""
    before, _, after = _parts(page, marker)
    page.write_text(f"{before}\n\n" + "\n".join(lines) + f"\n\n{after}", encoding="utf-8")


def _append(page: Path, marker: str, row: str) -> None:
    """Put a row under the table between the two comments of that name."""
    before, table, after = _parts(page, marker)
    page.write_text(f"{before}{table.rstrip()}\n{row}\n\n{after}", encoding="utf-8")


def _parts(page: Path, marker: str) -> tuple[str, str, str]:
    begin, end = f"<!-- {marker} -->", f"<!-- end of {marker} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    table, ended, after = rest.partition(end)
    if not (found and ended):
        msg = f"{page}: the comments {begin} and {end} are missing"
        raise SystemExit(msg)
    return before + begin, table, end + after
