"""The first lines of code that a newcomer sees must do what their comment says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.slow
def test_the_first_code_block_prints_what_its_comment_says(tmp_path: Path):
    block = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    expected = block.group(1).strip().rsplit("# ", 1)[1]
    environment = {"HF_HUB_OFFLINE": "1", "PATH": "", "PYTHONPATH": str(README.parent), "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", block.group(1)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert run.stdout.split() == expected.split()


def test_the_commands_for_people_without_make_are_those_of_the_makefile():
    makefile = (README.parent / "Makefile").read_text()
    readme = README.read_text()
    for extras in re.findall(r"-e '(\.\[.*?\])'", makefile):
        assert f"-c constraints.txt -e '{extras}'" in readme
    test_options = re.search(r"pytest (-n .*)", makefile)
    assert test_options is not None
    assert f"pytest {test_options.group(1)}" in readme


def test_local_links_lead_somewhere():
    pages = [README, *README.parent.glob("docs/**/*.md"), README.parent / "colbert_rag/encoder/minilm/README.md"]
    for page in pages:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
