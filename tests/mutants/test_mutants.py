"""T21: every safeguard has a test that fails without it; tests/mutants/run.py proves it on a copy, one by one."""

from __future__ import annotations

import ast
import importlib.util
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest
from safeguards import SAFEGUARDS, Safeguard

ROOT = Path(__file__).parents[2]

spec = importlib.util.spec_from_file_location("mutants_run", Path(__file__).parent / "run.py")
runner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runner)

SOURCE = "def half(n):\n    if n < 0:\n        raise ValueError(n)\n    return n // 2\n"
TESTS = """
import sys

import pytest

sys.path.insert(0, ".")
from source import half


def test_negative_numbers_are_refused():
    with pytest.raises(ValueError):
        half(-2)


def test_half():
    assert half(4) == 2
"""
OPTIONS = """
def pytest_addoption(parser):
    parser.addoption('--seed', type=int)
    parser.addoption('--processes', type=int)
"""


@lru_cache
def test_names(path):
    """Functions of a test file as pytest names them."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
    return found


test_names.__test__ = False


@pytest.mark.parametrize("safeguard", SAFEGUARDS, ids=lambda safeguard: safeguard.name)
def test_every_safeguard_stands_in_the_source_once_and_its_tests_exist(safeguard):
    assert (ROOT / safeguard.file).read_text(encoding="utf-8").count(safeguard.find) == 1
    assert safeguard.find != safeguard.replacement
    for test in safeguard.tests:
        path, _, name = test.partition("::")
        assert name in test_names(ROOT / path), test


def test_there_are_enough_safeguards_and_each_has_a_name_of_its_own():
    assert len(SAFEGUARDS) >= 16
    assert max(Counter(safeguard.name for safeguard in SAFEGUARDS).values()) == 1


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one safeguard and a test that holds it, and one that does not."""
    # pytest starts faster without the plugins of others
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "source.py").write_text(SOURCE)
    (tmp_path / "test_source.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text(OPTIONS)
    return tmp_path


@pytest.mark.parametrize(
    ("test", "is_caught"), [("test_negative_numbers_are_refused", True), ("test_half", False), ("test_gone", False)]
)
def test_the_runner_tells_a_caught_mutant_from_a_survivor(project, test, is_caught):
    safeguard = Safeguard(
        "no negatives", "source.py", "    if n < 0:\n", "    if False:\n", (f"test_source.py::{test}",)
    )
    assert runner.is_caught(project, safeguard) is is_caught
    assert (project / "source.py").read_text() == SOURCE


@pytest.mark.parametrize("count", [1, 2, 4, 60])
def test_parts_are_all_safeguards_once(count):
    parts = [runner.part_of(SAFEGUARDS, f"{number}/{count}") for number in range(1, count + 1)]
    assert [safeguard for part in parts for safeguard in part] == list(SAFEGUARDS)


def test_the_runner_refuses_a_safeguard_whose_text_is_gone(project):
    safeguard = Safeguard("gone", "source.py", "not in there", "", ())
    with pytest.raises(SystemExit, match=r"0 times in source\.py"):
        runner.is_caught(project, safeguard)
