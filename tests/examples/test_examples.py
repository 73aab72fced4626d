from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str) -> str:
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_quickstart_finds_what_is_in_the_index_now():
    before, after, end = run("quickstart.py").strip("\n").split("\n\n")
    assert "three months" in before.splitlines()[1]
    assert "four weeks" in after.splitlines()[1]
    assert "three months" not in after
    assert end == "200 documents, sound: True"


@pytest.mark.slow
def test_the_reranker_puts_the_answer_first():
    first, *rest = run("rerank.py").splitlines()
    assert first.endswith("found at position 3: Plants need light, water and air to grow.")
    assert len(rest) == 2


@pytest.mark.parametrize(("name", "lines"), [("quickstart.py", 40), ("rerank.py", 30)])
def test_the_examples_stay_short(name: str, lines: int):
    assert len((EXAMPLES / name).read_text().splitlines()) <= lines
