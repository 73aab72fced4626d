"""The process itself: what it prints where the terminal's encoding lacks a character."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = (
    "import colbert_rag.cli.encoders as encoders; from colbert_rag.testing import HashEncoder;"
    "encoders.load_encoder = lambda name: HashEncoder(); from colbert_rag.cli import main; main()"
)
TEXT = "Kündigung 東京 👩‍👩‍👧 notice – period … A second sentence."


def run_in(encoding: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "COLUMNS": "120"}
    command = [sys.executable, "-c", CODE, *map(str, arguments), "--model", "hash"]
    return subprocess.run(command, env=environment, capture_output=True, encoding=encoding, timeout=60, check=False)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("command", ["search", "explain"])
def test_text_that_the_output_cannot_encode_is_replaced(run, tmp_path: Path, command: str, encoding: str):
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "東京", "text": TEXT}) + "\n")
    run("index", tmp_path / "a.jsonl", "--into", tmp_path / "a.index", "--model", "hash")
    outcome = run_in(encoding, command, tmp_path / "a.index", "Kündigung notice")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert "notice" in outcome.stdout
    for shown in ("東京", "Kündigung"):
        assert shown.encode(encoding, "replace").decode(encoding) in outcome.stdout


def test_a_message_that_stderr_cannot_encode_is_shown(tmp_path: Path):
    outcome = run_in("ascii", "search", tmp_path / "Kündigung.index", "東京")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("IndexNotFoundError: ")
    assert "ndigung.index" in outcome.stderr
