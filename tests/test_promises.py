"""Every promise names tests, and every test that is named exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
# | P1 P2 | [`test_name`](../tests/folder/test_file.py) … |
ROWS = re.findall(r"^\| (P\d[P\d ]*|backup|restore) \| (.*) \|$", PAGE, re.MULTILINE)
LINK = re.compile(r"\[`(\w+)`\]\(\.\./(tests/[\w/]+\.py)\)")


def functions(path):
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_promise_is_held_by_a_test():
    promised = set(re.findall(r"^\*\*(P\d+)\. ", PAGE, re.MULTILINE))
    assert promised == {f"P{n}" for n in range(1, 11)}
    held = {name for names, tests in ROWS if LINK.search(tests) for name in names.split()}
    assert held == {*promised, "backup", "restore"}


def test_every_test_that_is_named_exists():
    named = LINK.findall(PAGE)
    assert len(named) >= 30
    assert [f"{path}::{name}" for name, path in named if name not in functions(path)] == []


def test_the_rows_hold_nothing_but_links():
    assert [rest for _, tests in ROWS if (rest := LINK.sub("", tests).replace(",", "").strip())] == []
