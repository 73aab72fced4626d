from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from colbert_rag.version import __version__

COMMANDS = ["index", "search", "delete", "explain", "eval", "info", "verify", "compact", "backup", "restore", "demo"]


def test_the_help_names_every_command_and_exit_code(run):
    outcome = run("--help")
    assert outcome.code == 0
    assert all(f" {command} " in outcome.out for command in COMMANDS)
    words = " ".join(outcome.out.split())
    assert all(code in words for code in ("0 all is well", "1 the command failed", "2 wrong usage", "130 int"))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_examples(run, command: str):
    outcome = run(command, "--help")
    assert outcome.code == 0
    assert f"colbert-rag {command}" in outcome.out.partition("Try:")[2]


def test_the_version_is_the_distributions(run):
    assert run("--version").out == f"colbert-rag {__version__}\n"


def test_wrong_usage_ends_with_2(run, tmp_path: Path):
    assert run("index", tmp_path).code == 2
    assert run("search", tmp_path, "question", "--mode", "magic").code == 2
    assert run("search", tmp_path, "question", "-k", "0").code == 2
    assert run("index", tmp_path / "missing", "--into", tmp_path / "index").code == 2


def test_an_error_of_the_library_is_one_message_and_ends_with_1(run, tmp_path: Path):
    outcome = run("info", tmp_path / "missing.index")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("IndexNotFoundError: ")
    assert "missing.index" in outcome.err
    assert "Traceback" not in outcome.err


def test_the_command_line_starts_without_a_model_library():
    code = (
        "import sys; from colbert_rag.cli.app import app;"
        "print([name for name in ('torch', 'transformers', 'sentence_transformers', 'numba') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_module_runs_as_the_command():
    command = [sys.executable, "-m", "colbert_rag", "--version"]
    assert subprocess.check_output(command, text=True) == f"colbert-rag {__version__}\n"
