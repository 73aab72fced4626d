from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "support" / "compiled_kernels.py"


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90], ids=["A100", "H200"])
def test_kernels_compile_for_a_gpu_that_is_not_there(tmp_path, capability):
    """To machine code, with no more shared memory than the GPU has; whether it runs there is another question."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, str(SCRIPT), str(capability)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    made = [json.loads(line) for line in run.stdout.splitlines()]
    assert Counter(line["kernel"] for line in made) == {
        "_dense_kernel": 3,
        "_approximate_kernel": 1,
        "_residual_kernel": 2,
    }
    for line in made:
        assert line["capability"] == capability
        assert line["code"] > 1000
        assert line["shared"] <= 163 * 1024, line
