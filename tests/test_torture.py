"""The rows of the tables are what a run has counted, also of a run that failed or that its time limit ended."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("torture", Path(__file__).with_name("torture.py"))
torture = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = torture
spec.loader.exec_module(torture)

CONFTEST = """
import json
from collections import Counter
from pathlib import Path
import pytest

def pytest_addoption(parser):
    parser.addoption("--torture", action="store_true")
    parser.addoption("--seed", type=int)
    parser.addoption("--figures", type=Path)

COUNTS = Counter()

@pytest.fixture
def counts():
    return COUNTS

def pytest_terminal_summary(terminalreporter, config):
    config.getoption("--figures").write_text(json.dumps({"seed": 1, "counts": COUNTS}))
"""
TESTS = """
import time
from pathlib import Path

def test_whole(counts):
    counts["kills at a call"] += 30

def test_failing(counts):
    counts["power losses"] += 5
    assert False

def test_endless(counts, request):
    for _ in range(600 if request.config.getoption("--torture") else 0):
        counts["random kills"] += 1
        Path("has begun").touch()
        time.sleep(1)
"""
LIMIT_S = 3_000.0
README = "before\n<!-- torture -->\n\n| a |\n|---|\n\n<!-- end of torture -->\nafter\n"
PROMISES = "x\n<!-- everyday -->\nold\n<!-- end of everyday -->\n<!-- torture -->\nold\n<!-- end of torture -->\ny\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name, text in {
        "README.md": README,
        "docs/promises.md": PROMISES,
        "tests/conftest.py": CONFTEST,
        "tests/crash/test_some.py": TESTS,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(torture, "ROOT", tmp_path)
    # pytest starts faster without the plugins of others
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return tmp_path


@pytest.fixture
def interrupts():
    """What an interrupt does is put back as it was."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_counts_and_failures_of_every_file_are_added_up(project):
    run = torture.torture(7, None, is_everyday=True)
    assert run.counts == {"kills at a call": 30, "power losses": 5, "failures": 1}
    assert run.is_whole


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals that end a run in good order")
@pytest.mark.parametrize("inherited", [signal.default_int_handler, signal.SIG_IGN], ids=["terminal", "background"])
def test_a_time_limit_ends_a_run_which_tells_what_it_has_tried(project, monkeypatch, interrupts, inherited):
    class Popen(subprocess.Popen):
        """Reaches its time limit when the endless test has begun, however slow the machine is."""

        def wait(self, timeout=None):
            if timeout == LIMIT_S:
                deadline = time.time() + 120
                while not (project / "has begun").exists():
                    assert time.time() < deadline, "the endless test does not begin"
                    time.sleep(0.05)
                raise subprocess.TimeoutExpired(self.args, timeout)
            return super().wait(timeout)

    monkeypatch.setattr(torture.subprocess, "Popen", Popen)
    monkeypatch.setattr(torture.time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(torture, "_run_mutants", lambda run: None)
    signal.signal(signal.SIGINT, inherited)
    run = torture.torture(7, LIMIT_S, is_everyday=False)
    assert 0 < run.counts["random kills"] < 600
    assert (run.counts["kills at a call"], run.counts["failures"]) == (30, 1)
    assert not run.is_whole


def test_a_file_that_ends_without_a_word_is_a_failure(project):
    (project / "tests" / "crash" / "test_some.py").write_text("import os\nos._exit(3)\n")
    assert torture.torture(7, None, is_everyday=True).counts == {"failures": 1}


def test_skipped_tests_are_counted(project):
    (project / "tests" / "crash" / "test_some.py").write_text("import pytest\n\ndef test_a():\n    pytest.skip()\n")
    assert torture.torture(7, None, is_everyday=True).counts == {"skipped tests": 1, "failures": 0}


def test_every_row_with_a_goal_is_counted_by_a_test_under_that_name():
    tests = Path(__file__).parent
    counted = "".join(path.read_text(encoding="utf-8") for path in tests.glob("*/*.py")) + '"mutants"'
    assert [name for name in torture.GOALS if f'"{name}"' not in counted] == []


def test_a_torture_run_adds_a_row_and_replaces_its_table(project):
    counts = Counter({"kills at a call": 30, "random kills": 1_000, "power losses": 5, "failures": 2, "odd": 9})
    for seed in (7, 8):
        torture.record(torture.Run(counts, is_whole=False), seed, is_everyday=False)
    rows = (project / "README.md").read_text().splitlines()[3:-3]
    assert [row.split(" | ", 2)[2] for row in rows[2:]] == ["1,030 | 5 | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 2 |"] * 2
    assert (project / "README.md").read_text().endswith("<!-- end of torture -->\nafter\n")
    page = (project / "docs" / "promises.md").read_text()
    assert "seed 8" in page
    assert "seed 7" not in page
    assert "until its share of the time was over" in page
    assert "| odd |  | 9 |" in page
    assert "| random kills | 10,000 | 1,000 |" in page
    assert "| fuzzed inputs | 1,300,000 | 0 |" in page
    assert page.startswith("x\n<!-- everyday -->\nold\n<!-- end of everyday -->\n")
    assert page.endswith("<!-- end of torture -->\ny\n")


def test_an_everyday_run_leaves_the_readme_as_it_is(project):
    torture.record(torture.Run(Counter({"kills at a call": 3})), 7, is_everyday=True)
    assert (project / "README.md").read_text() == README
    page = (project / "docs" / "promises.md").read_text()
    assert "| kills at a call | 300 | 3 |" in page
    assert "| random kills | 200 | 0 |" in page
    assert "mutants" not in page


def test_the_columns_of_the_readme_are_those_of_the_rows():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    header = readme.partition("<!-- torture -->")[2].strip().splitlines()[0]
    assert header == f"| {' | '.join(['date', 'commit', *torture.COLUMNS])} |"
