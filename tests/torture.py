"""The long sizes of the tests that hold the promises; what they tried goes into the tables of the documents.

Run: make torture, or python tests/torture.py --minutes 60
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
FOLDERS = ("crash", "corruption", "hostile", "concurrency", "model", "resources")
MUTANTS = ROOT / "tests" / "mutants" / "run.py"
# shares of the time, where goals are far: the other files have one
SHARES = {
    "test_churn.py": 2,
    "test_flips.py": 2,
    "test_fuzz.py": 6,
    "test_model.py": 3,
    "test_random_kills.py": 6,
    "test_searching_during_writes.py": 2,
}
# how long a run that was told to stop may take to tidy up and write its figures
LAST_WORDS_S = 120
FAILURES = "failures"
SKIPPED = "skipped tests"
# least numbers of cases by row, of an everyday run and of torture; other rows have no goal of their own
GOALS = {
    "commits of racing writers": (320, 40_000),
    "files truncated, extended, zeroed, deleted, replaced or swapped": (500, 20_000),
    "fuzzed inputs": (65_000, 1_300_000),
    "hostile indexes": (60, 60),
    "ids and texts of any Unicode": (2_000, 100_000),
    "kills at a call": (300, 300),
    "mutants": (0, 12),
    "openings without a leak": (200, 1_000),
    "power losses": (5_000, 100_000),
    "random kills": (200, 10_000),
    "runs of the model": (200, 5_000),
    "searches during writes": (1_000, 1_000_000),
    "sizes of a full disk": (20, 200),
    "steps of the model": (10_000, 500_000),
    "upserts of churn": (400, 10_000),
}
# columns of the README's table, and the words by which a figure belongs to one
COLUMNS = {
    "kills": ("kills",),
    "power losses": ("power losses",),
    "failing calls and full disks": ("failing calls", "full disk"),
    "flips and other damage": ("flip", "damaged", "files truncated"),
    "hostile indexes": ("hostile indexes",),
    "fuzzed inputs": ("fuzz", "texts and ids"),
    "steps of the model": ("steps of the model",),
    "searches during writes": ("searches during writes",),
    "mutants": ("mutants",),
    FAILURES: (FAILURES,),
}


@dataclass
class Run:
    """What a run tried.

    Attributes:
        counts: Cases by name; "failures" are tests that failed and mutants that survived, "skipped tests" such as this
            machine cannot run.
        is_whole: Whether no time limit ended a part of it.
    """

    counts: Counter[str] = field(default_factory=Counter)
    is_whole: bool = True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, help="share this time among the tests; each then tries what it can")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of every random choice")
    parser.add_argument("--everyday", action="store_true", help="the sizes of make test, for the table of promises")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    run = torture(given.seed, None if given.minutes is None else given.minutes * 60, is_everyday=given.everyday)
    record(run, given.seed, is_everyday=given.everyday)
    for name, count in sorted(run.counts.items()):
        print(f"{count:>12,}  {name}")
    return int(run.counts[FAILURES] > 0)


def torture(seed: int, limit_s: float | None, *, is_everyday: bool) -> Run:
    """Run the mutants and every file of tests, each with its share of the time that is left."""
    # a shell has interrupts ignored in what it starts in the background, and the tests would inherit that: no limit
    # could end them in good order
    signal.signal(signal.SIGINT, signal.default_int_handler)
    end = None if limit_s is None else time.monotonic() + limit_s
    run = Run()
    if not is_everyday:
        _run_mutants(run)
    files = [path for folder in FOLDERS for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))]
    shares = [SHARES.get(path.name, 1) for path in files]
    for number, path in enumerate(files):
        part = shares[number] / sum(shares[number:])
        limit = None if end is None else max(1.0, (end - time.monotonic()) * part)
        _run_tests(path, seed, limit, run, is_everyday=is_everyday)
    return run


def _run_mutants(run: Run) -> None:
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        code = _run([sys.executable, str(MUTANTS), "--figures", str(figures)], None)
        counts = json.loads(figures.read_text())["counts"] if figures.exists() else {}
    run.counts["mutants"] += counts.get("mutants", 0)
    run.counts[FAILURES] += max(counts.get("mutants that survived", 0), int(code != 0))


def _run_tests(path: Path, seed: int, limit_s: float | None, run: Run, *, is_everyday: bool) -> None:
    print(f"== {path.relative_to(ROOT)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        figures, outcome = Path(folder) / "figures.json", Path(folder) / "outcome.xml"
        options = ["-q", "-p", "no:cacheprovider", "--seed", str(seed), "--figures", str(figures)]
        options += [f"--junit-xml={outcome}", *([] if is_everyday else ["--torture"])]
        code = _run([sys.executable, "-m", "pytest", *options, str(path)], limit_s)
        if figures.exists():
            run.counts.update(json.loads(figures.read_text())["counts"])
        failed = _count(outcome, "failures", "errors")
        if skipped := _count(outcome, "skipped"):
            run.counts[SKIPPED] += skipped
    run.is_whole &= code is not None
    # a run that died without a word has failed too
    run.counts[FAILURES] += failed if failed or code in (0, None) else 1


def _run(command: Sequence[str], limit_s: float | None) -> int | None:
    """Run a command; its exit code, or None where the time limit ended it."""
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(LAST_WORDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return None


def _count(outcome: Path, *names: str) -> int:
    if not outcome.exists():
        return 0
    suites = ElementTree.parse(outcome).getroot().iter("testsuite")
    return sum(int(suite.get(name, 0)) for suite in suites for name in names)


def record(run: Run, seed: int, *, is_everyday: bool) -> None:
    """Add the run to the tables of the documents."""
    where = f"{date.today()}", _commit(), seed
    size = "everyday" if is_everyday else "torture"
    goals = {name: least[not is_everyday] for name, least in GOALS.items() if least[not is_everyday]}
    counts = dict.fromkeys(goals, 0) | run.counts
    lines = [f"| {name} | {_shown(goals.get(name))} | {count:,} |" for name, count in sorted(counts.items())]
    end = "to the end" if run.is_whole else "each file until its share of the time was over"
    title = f"{where[0]}, commit {where[1]}, seed {where[2]}, {end}:"
    _replace(ROOT / "docs" / "promises.md", size, [title, "", "| cases | goal | tried |", "|---|---|---|", *lines])
    if not is_everyday:
        sums = [_sum(run.counts, words) for words in COLUMNS.values()]
        _append(ROOT / "README.md", "torture", f"| {' | '.join([*where[:2], *(f'{n:,}' for n in sums)])} |")


def _shown(goal: int | None) -> str:
    return "" if goal is None else f"{goal:,}"


def _sum(counts: Mapping[str, int], words: Sequence[str]) -> int:
    return sum(count for name, count in counts.items() if any(word in name for word in words))


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = "+changes" if git("status", "--porcelain", "--", "colbert_rag") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


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


if __name__ == "__main__":
    sys.exit(main())
