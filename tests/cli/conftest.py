from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from colbert_rag.cli import main

TEXTS = {
    "notice": "The notice period is three months to the end of a quarter.",
    "holiday": "Every employee has thirty days of holiday a year.",
    "travel": "Travel by train is booked through the office.",
    "laptop": "A laptop is replaced after four years.",
}


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process; ``--model hash`` is an encoder without a model."""
    from colbert_rag.testing import HashEncoder

    monkeypatch.setattr("colbert_rag.cli.encoders.load_encoder", lambda name: HashEncoder())
    monkeypatch.setenv("COLUMNS", "120")

    def run_command(*arguments: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(int(caught.value.code or 0), captured.out, captured.err)

    return run_command


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    records = ({"_id": key, "text": text, "words": len(text.split())} for key, text in TEXTS.items())
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def index_path(run: Run, corpus: Path, tmp_path: Path) -> Path:
    path = tmp_path / "handbook.index"
    outcome = run("index", corpus, "--into", path, "--model", "hash", "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    return path
