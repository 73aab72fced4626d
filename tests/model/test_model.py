from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).with_name("model_check.py")


@pytest.mark.slow
def test_any_order_of_writes_crashes_and_searches_is_as_of_a_dictionary(figures, tmp_path):
    """In a process of its own: the check forks, and the threads of OpenMP do not survive that where there are any."""
    counted = tmp_path / "figures.json"
    options = ["-q", "-p", "no:cacheprovider", "--seed", str(figures.seed), "--figures", str(counted)]
    options += ["--scale", str(figures.scale), "--processes", str(figures.processes)]
    # the steps in all, which tell how long another scale would take
    figures.size(10_000, 500_000)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(CHECK)],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    # what failed stands before the steps that lead to it, which may be many
    reasons = [line for line in done.stdout.splitlines() if line.startswith("E  ")][:20]
    assert done.returncode == 0, "\n".join([*reasons, done.stdout[-4_000:]])
    for name, count in json.loads(counted.read_text())["counts"].items():
        figures.add(name, count)
