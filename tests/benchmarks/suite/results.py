"""What was measured: results behind a correctness gate, rows in one file, tables in the documents."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

__all__ = ["FILE", "Bound", "Result", "Row", "Run", "append", "draw", "read"]

FILE = Path(__file__).parents[1] / "results.jsonl"
ROOT = Path(__file__).parents[3]
GATE = "gate"
GREEN = "green"


@dataclass(frozen=True)
class Bound:
    """Where a figure of quality has to lie for a speed to mean something."""

    metric: str
    least: float = -math.inf
    most: float = math.inf

    def problem(self, quality: Mapping[str, float]) -> str | None:
        """What is wrong, in words; None where nothing is. Not a number is wrong."""
        value = quality[self.metric]
        if self.least <= value <= self.most:
            return None
        wanted = f"at least {self.least:g}" if self.least > -math.inf else f"at most {self.most:g}"
        return f"{self.metric} {value:.4f}, {wanted} expected"


@dataclass(frozen=True)
class Result:
    """One setting on one collection; its speed is out of reach while a bound is broken.

    Attributes:
        collection: Name.
        setting: The engine and how it was set.
        threads: Cores that it could use.
        quality: Metric -> value, measured before any speed and on the same index.
        bounds: Which have to hold.
        speed: Metric -> value: times, memory, sizes.
    """

    collection: str
    setting: str
    threads: int
    quality: Mapping[str, float]
    bounds: Sequence[Bound]
    speed: Mapping[str, float]

    @property
    def gate(self) -> str:
        """ "green", or "red: " and why."""
        problems = [problem for bound in self.bounds if (problem := bound.problem(self.quality))]
        return "red: " + "; ".join(problems) if problems else GREEN

    def values(self) -> dict[str, float | str]:
        """Metric -> value, as they are written: no speed beside a red gate."""
        gate = self.gate
        return {**self.quality, GATE: gate, **(self.speed if gate == GREEN else {})}


@dataclass(frozen=True)
class Run:
    """When and where the command was run."""

    date: str
    commit: str
    machine: str

    @classmethod
    def now(cls) -> Run:
        """This run, on this machine."""
        date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(date, _commit(), f"{_processor()}, {os.cpu_count()} cores")

    def rows(self, benchmark: str, result: Result) -> Iterator[Row]:
        """The rows of a result."""
        for metric, value in result.values().items():
            where = result.collection, result.setting, metric, value
            yield Row(self.date, self.commit, self.machine, result.threads, benchmark, *where)


@dataclass(frozen=True)
class Row:
    """A line of the results file."""

    date: str
    commit: str
    machine: str
    threads: int
    benchmark: str
    collection: str
    setting: str
    metric: str
    value: float | str


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a results file."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


def read(path: Path) -> list[Row]:
    """All rows of a results file, oldest first; none where there is no file."""
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def draw(page: Path, rows: Sequence[Row]) -> None:
    """Put the newest rows of each benchmark between its two comments, ``<!-- bench NAME -->`` and its end.

    Raises:
        SystemExit: the comments of a benchmark that has rows are missing.
    """
    text = page.read_text(encoding="utf-8")
    for name in dict.fromkeys(row.benchmark for row in rows):
        begin, end = f"<!-- bench {name} -->", f"<!-- end of bench {name} -->"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not (found and ended):
            msg = f"{page}: the comments {begin} and {end} are missing; put them where the table belongs"
            raise SystemExit(msg)
        tables = "\n\n".join(_tables([row for row in rows if row.benchmark == name]))
        text = f"{before}{begin}\n\n{tables}\n\n{end}{after}"
    page.write_text(text, encoding="utf-8")


def _tables(rows: Sequence[Row]) -> Iterator[str]:
    for collection in dict.fromkeys(row.collection for row in rows):
        newest = max(row.date for row in rows if row.collection == collection)
        yield _table([row for row in rows if (row.collection, row.date) == (collection, newest)])


def _table(rows: Sequence[Row]) -> str:
    settings: dict[tuple[str, int], dict[str, float | str]] = {}
    for row in rows:
        settings.setdefault((row.setting, row.threads), {})[row.metric] = row.value
    metrics = list(dict.fromkeys(row.metric for row in rows))
    title = f"{rows[0].collection}; {rows[0].date[:10]}, commit {rows[0].commit}, {rows[0].machine}:"
    head = ["setting", "cores", *metrics]
    lines = [
        [setting, str(threads), *(_shown(values.get(metric, "")) for metric in metrics)]
        for (setting, threads), values in settings.items()
    ]
    table = [head, ["---"] * len(head), *lines]
    return "\n".join([title, "", *(f"| {' | '.join(cells)} |" for cells in table)])


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.4f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = "+changes" if git("status", "--porcelain", "--", "colbert_rag") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
