"""The code of a how-to page runs as it stands, block after block."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "backup.md",
        "explain.md",
        "filters.md",
        "gpu.md",
        "long-documents.md",
        "mine.md",
        "models.md",
        "serve.md",
        "train.md",
    ],
)
def test_the_code_of_a_page_runs(name: str, tmp_path: Path):
    blocks = re.findall(r"```python\n(.*?)```", (PAGES / name).read_text(), re.DOTALL)
    assert len(blocks) >= 3
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", "\n".join(blocks)]
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
