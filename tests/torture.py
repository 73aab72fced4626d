"""The long sizes of the tests that hold the promises; what they tried goes into the tables of the documents.

Run: make torture, or python tests/torture.py --minutes 50

Each file of tests runs at its everyday size, which tells what a case costs, and those that have a long size then run
again, as far towards it as the time allows. Nothing is interrupted, so whatever was tried is counted. The machine's
cores take a file each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from figures import Effort  # noqa: E402
from torture_jobs import Done, Job, run_jobs  # noqa: E402
from torture_plan import LEAST, Cost, growing, scales  # noqa: E402
from torture_table import FAILURES, SKIPPED, Run, record  # noqa: E402

FOLDERS = ("crash", "corruption", "hostile", "concurrency", "model", "resources")
# files whose tests need the whole machine for themselves
ALONE = {"concurrency/test_searching_during_writes.py"}
MUTANTS = "tests/mutants/run.py"
# so that no core waits for another that has all mutants
PARTS = 4
# of the time that is planned for; the rest is for cases that cost more than they did
PLANNED = 0.9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="share this time among the tests; without it all run to the end")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of every random choice")
    parser.add_argument("--everyday", action="store_true", help="the sizes of make test, for the table of promises")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    where = str(date.today()), _commit(), given.seed
    with tempfile.TemporaryDirectory() as folder:
        torture = Torture(Path(folder), given.seed, min(4, os.cpu_count() or 1))
        run = torture.run(None if given.minutes is None else given.minutes * 60, is_everyday=given.everyday)
    record(run, ROOT, where, is_everyday=given.everyday)
    for name, count in sorted(run.counts.items()):
        print(f"{count:>12,}  {name}")
    return int(run.counts[FAILURES] > 0)


@dataclass
class Torture:
    """One run of all files.

    Attributes:
        folder: An empty one, for what the files say.
        seed: Of the long sizes, and of the everyday size before them.
        lanes: Files that run at a time.
        counts: Of the last run of each file, and of the mutants.
        failures: Of every run.
        costs: Of each file at its everyday size.
        scales: Of the long runs.
    """

    folder: Path
    seed: int
    lanes: int
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: int = 0
    costs: dict[str, Cost] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)

    def run(self, limit_s: float | None, *, is_everyday: bool) -> Run:
        """The mutants and every file at its everyday size, then the long sizes as far as time allows."""
        end = None if limit_s is None else time.monotonic() + limit_s
        paths = [path for folder in FOLDERS for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))]
        mutants = [] if is_everyday else self._mutants()
        run_jobs([*mutants, *(self._job(path, 0.0) for path in paths)], ROOT, self.lanes, self._ended)
        if not is_everyday:
            self._go_on([path for path in paths if _name(path) in growing(self.costs)], end)
        counts = Counter({FAILURES: self.failures})
        for tried in self.counts.values():
            counts.update(tried)
        return Run(counts, dict(self.scales))

    def _go_on(self, paths: Sequence[Path], end: float | None) -> None:
        left = None if end is None else max(0.0, end - time.monotonic()) * PLANNED
        self.scales = self._planned([_name(path) for path in paths], left)
        further = [path for path in paths if self.scales[_name(path)] > 0]
        further.sort(key=lambda path: -self.costs[_name(path)].at(self.scales[_name(path)]))
        for path in further:
            name = _name(path)
            print(f"{name}: scale {self.scales[name]:.4f}, about {self.costs[name].at(self.scales[name]):.0f} s")
        run_jobs([self._job(path, self.scales[_name(path)]) for path in further], ROOT, self.lanes, self._ended)

    def _planned(self, names: Sequence[str], left_s: float | None) -> dict[str, float]:
        """Scales of files; what runs alone has the whole machine, and goes only as far as is asked of it."""
        if left_s is None:
            return dict.fromkeys(names, 1.0)
        alone = {name: LEAST.get(name, 0.0) for name in names if name in ALONE}
        left_s = max(0.0, left_s - sum(self.costs[name].at(scale) for name, scale in alone.items()))
        beside = {name: self.costs[name] for name in names if name not in ALONE}
        return {**alone, **scales(beside, left_s * self.lanes, left_s, LEAST)}

    def _mutants(self) -> list[Job]:
        parts = [f"{number}/{PARTS}" for number in range(1, PARTS + 1)]
        return [self._mutants_part(f"mutants {part}", part) for part in parts]

    def _mutants_part(self, name: str, part: str) -> Job:
        command = [sys.executable, MUTANTS, "--part", part, "--figures", str(self._said(name))]
        return Job(name, lambda: command)

    def _job(self, path: Path, scale: float) -> Job:
        name = _name(path)
        said = self._said(name)
        # other cases than those of the everyday size that went before
        seed = self.seed + (scale > 0)
        options = ["-q", "-p", "no:cacheprovider", f"--seed={seed}", f"--scale={scale}", "--processes=1"]
        options += [f"--figures={said}", f"--junit-xml={said.with_suffix('.xml')}"]
        command = [sys.executable, "-m", "pytest", *options, str(path)]
        return Job(name, lambda: self._fresh(said, command), is_alone=name in ALONE)

    def _said(self, name: str) -> Path:
        return self.folder / f"{name.replace('/', '-')}.json"

    @staticmethod
    def _fresh(said: Path, command: Sequence[str]) -> Sequence[str]:
        """The command, when nothing is left of what the everyday size said."""
        for path in (said, said.with_suffix(".xml")):
            path.unlink(missing_ok=True)
        return command

    def _ended(self, done: Done) -> None:
        said = _read(self._said(done.name))
        counts = Counter(said.get("counts", {}))
        failed = counts.pop("mutants that survived", 0) + _count(self._said(done.name), "failures", "errors")
        # a run that died without a word has failed too
        self.failures += max(failed, int(done.code != 0))
        if skipped := _count(self._said(done.name), "skipped"):
            counts[SKIPPED] = skipped
        self.counts[done.name] = counts
        if done.name not in self.costs:
            self.costs[done.name] = Cost.measured(done.seconds, [Effort(**one) for one in said.get("efforts", ())])


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}  # type: ignore[no-any-return]


def _count(said: Path, *names: str) -> int:
    outcome = said.with_suffix(".xml")
    if not outcome.exists():
        return 0
    suites = ElementTree.parse(outcome).getroot().iter("testsuite")
    return sum(int(suite.get(name, 0)) for suite in suites for name in names)


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = "+changes" if git("status", "--porcelain", "--", "colbert_rag") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


if __name__ == "__main__":
    sys.exit(main())
