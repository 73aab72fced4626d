"""Remove one safeguard at a time from a copy of the source, and see a named test fail.

Run: python tests/mutants/run.py [--only WORD] [--part K/N] [--figures FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from safeguards import SAFEGUARDS, Safeguard  # noqa: E402

NEEDED = ("colbert_rag", "tests", "examples", "docs", "README.md", "Makefile", "pyproject.toml")
PASSED, FAILED = 0, 1
TIMEOUT_S = 900


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", default="", help="safeguards whose name holds this word")
    arguments.add_argument("--part", default="1/1", help="the K-th of N parts of them, as in 2/4")
    arguments.add_argument("--figures", type=Path, help="write the counts into this file, as JSON")
    given = arguments.parse_args()
    chosen = part_of([safeguard for safeguard in SAFEGUARDS if given.only in safeguard.name], given.part)
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_of(ROOT, Path(folder) / "project")
        tests = sorted({test for safeguard in chosen for test in safeguard.tests})
        outcome, output = run_tests(copy, tests)
        if outcome != PASSED:
            print(f"{output}\nthe named tests do not pass while every safeguard is in place")
            return 1
        survivors = [safeguard for safeguard in chosen if not is_caught(copy, safeguard)]
    print(f"{len(chosen)} safeguards removed, {len(chosen) - len(survivors)} caught")
    if given.figures:
        counts = {"mutants": len(chosen), "mutants that survived": len(survivors)}
        given.figures.write_text(json.dumps({"seed": None, "counts": counts}, indent=1))
    return int(bool(survivors))


def part_of(safeguards: Sequence[Safeguard], part: str) -> Sequence[Safeguard]:
    """The K-th of N parts, given as K/N; neighbours share tests and stay together."""
    number, count = map(int, part.split("/"))
    begin, end = (len(safeguards) * place // count for place in (number - 1, number))
    return safeguards[begin:end]


def copy_of(root: Path, target: Path) -> Path:
    """A copy of the project's files that tests need; compiled kernels go with it, which saves their compilation."""
    target.mkdir()
    for name in NEEDED:
        if (root / name).is_dir():
            shutil.copytree(root / name, target / name)
        elif (root / name).exists():
            shutil.copy2(root / name, target / name)
    return target


def is_caught(copy: Path, safeguard: Safeguard) -> bool:
    """Whether a named test fails without the safeguard; says so."""
    with removed(copy, safeguard):
        outcome, output = run_tests(copy, safeguard.tests)
    verdict = {PASSED: "SURVIVED", FAILED: "caught"}.get(outcome, f"SURVIVED (pytest ended with {outcome})")
    print(f"{verdict:10} {safeguard.name}", flush=True)
    if outcome not in (PASSED, FAILED):
        print(output)
    return outcome == FAILED


@contextmanager
def removed(copy: Path, safeguard: Safeguard) -> Iterator[None]:
    """The copy without a safeguard."""
    path = copy / safeguard.file
    before = path.read_text(encoding="utf-8")
    if before.count(safeguard.find) != 1:
        msg = f"{safeguard.name}: its text is {before.count(safeguard.find)} times in {safeguard.file}, not once"
        raise SystemExit(msg)
    path.write_text(before.replace(safeguard.find, safeguard.replacement), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


def run_tests(copy: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests against the copy, stopping at the first failure; pytest's exit code and what it printed."""
    # the tests' own processes must import the copy too; a frozen seed makes a verdict repeatable
    environment = os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"]
    # parts run beside one another
    command += ["--seed", "1", "--processes", "1"]
    try:
        run = subprocess.run(
            [*command, *tests],
            cwd=copy,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return -1, f"not over after {TIMEOUT_S} s"
    return run.returncode, run.stdout


if __name__ == "__main__":
    sys.exit(main())
