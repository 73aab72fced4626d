from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from colbert_rag.demo import SingleVectors
from colbert_rag.testing import HashEncoder


@pytest.fixture
def data(tmp_path: Path, corpus: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(corpus.read_bytes()))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "days of holiday"}) + "\n")
    (folder / "qrels.tsv").write_text("q\tholiday\t1\n")
    return folder


@pytest.fixture(autouse=True)
def without_models(monkeypatch: pytest.MonkeyPatch):
    single = SingleVectors(np.zeros((4, 2), np.float32), np.zeros((1, 2), np.float32))
    monkeypatch.setattr("colbert_rag.cli.demo.load_encoder", lambda name: HashEncoder())
    monkeypatch.setattr("colbert_rag.cli.demo.encode_single_vectors", lambda data, progress: single)


def test_the_demo_answers_and_compares(run, data: Path):
    outcome = run("demo", "--data", data)
    assert outcome.code == 0
    assert "encodes 4 documents" in outcome.out
    assert "in a temporary folder" in outcome.out
    assert "Question: days of holiday" in outcome.out
    assert "relevant" in outcome.out
    table = {line.split("│")[1].strip(): line.split("│")[2:] for line in outcome.out.splitlines() if "│" in line}
    assert [float(table[name][0]) for name in ("BM25", "exact MaxSim", "this index")] == [1.0, 1.0, 1.0]
    assert float(table["exact MaxSim"][2]) == 64.0
    assert outcome.out.splitlines()[-2:] == [
        "Index files of your own:  colbert-rag index FOLDER --into my.index",
        'Ask them a question:      colbert-rag search my.index "your question"',
    ]


def test_a_kept_index_can_be_searched(run, data: Path, tmp_path: Path):
    path = tmp_path / "kept.index"
    outcome = run("demo", "--data", data, "--keep", path)
    assert f"colbert-rag info {path}" in outcome.out
    assert run("search", path, "holiday", "--model", "hash", "--json").json[0]["id"] == "holiday"


def test_a_folder_without_the_files_is_refused(run, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    outcome = run("demo", "--data", tmp_path / "empty")
    assert outcome.code == 1
    assert "there is no file corpus.jsonl.gz or corpus.jsonl" in outcome.err
