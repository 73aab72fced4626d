"""Every code block of the how-to page runs, from top to bottom."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "langchain.md"


@pytest.mark.slow
def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "page"}
    for block in re.finditer(r"```python\n(.*?)```", page, re.DOTALL):
        line = page[: block.start()].count("\n") + 1
        exec(compile("\n" * line + block.group(1), str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert "Three months." in printed
    assert printed.endswith("Either side may end this contract with ninety days' warning.\n")
    names["store"].close()


def test_the_install_line_is_the_readmes_and_names_extras_that_exist():
    [line] = re.findall(r"^pip install .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert line in (PAGE.parents[2] / "README.md").read_text(encoding="utf-8")
    extras = re.search(r"\[(.*)\]", line).group(1).split(",")
    assert {"cpu", "langchain"} <= set(extras) <= set(metadata("late-interaction-rag").get_all("Provides-Extra"))
