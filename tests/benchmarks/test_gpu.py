"""The benchmark of GPUs, as far as a processor can play one: its gate turns red, and then no number appears."""

from __future__ import annotations

import json
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from colbert_rag.search import ProcessorRanker
from colbert_rag.testing import HashEncoder

sys.path.append(str(Path(__file__).parent))

if find_spec("triton") is None:
    pytest.skip("there is no triton for this system", allow_module_level=True)

import gpu
from suite import gpu_gate, gpu_kernels

CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch):
    """Sizes for an interpreter."""
    monkeypatch.setattr(gpu_gate, "LENGTHS", (63, 1, 33))
    monkeypatch.setattr(gpu_gate, "SHAPES", ((48, 2),))


def test_the_gate_is_green(small):
    assert gpu_gate.differences(CPU, seed=3) == []


@pytest.mark.parametrize("kernel", ["dense_scores", "approximate_scores", "residual_scores"])
def test_the_gate_turns_red_for_a_kernel_that_leaves_a_score_out(small, monkeypatch, kernel):
    original = getattr(gpu_gate, kernel)

    def wrong(*args):
        poisoned = args[-1].clone()
        original(*args)
        args[-1][-1, -1] = poisoned[-1, -1]

    monkeypatch.setattr(gpu_gate, kernel, wrong)
    found = gpu_gate.differences(CPU, seed=3)
    assert found
    assert {line.split()[0].strip(",") for line in found} == {kernel.split("_")[0]}


def test_a_red_gate_prints_no_number(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "differences", lambda device, seed: ["dense"])
    assert gpu.main(["--device", "cpu"]) == 1
    assert capsys.readouterr().out == "RED, nothing is measured:\n  dense\n"


def test_the_table_has_a_row_for_every_kernel_with_its_floor(monkeypatch):
    monkeypatch.setattr(gpu, "ceilings", partial(gpu_kernels.ceilings, size=64, side=32))
    ran = []

    def timer(call):
        ran.append(call())
        return 0.5

    sizes = {"long": 1, "long_tokens": 70, "tokens": 110, "many_tokens": 220, "batch": 3}
    text = gpu.kernel_table(CPU, 1, sizes, timer)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 1 + 2 * 5 + 1
    assert rows[0][0] == "| MaxSim float16, 1 documents of 70 tokens, 1 query"
    assert float(rows[0][1]) == pytest.approx(70 * 256 / 1e6, abs=1e-3)
    assert all(row[3] == "0.500" for row in rows)


@pytest.fixture
def beir(tmp_path):
    """Three documents and two judged queries."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    texts = ("cedar river stone", "amber lake north", "bridge of amber")
    documents = [json.dumps({"_id": f"d{n}", "title": "", "text": text}) for n, text in enumerate(texts * 4)]
    (folder / "corpus.jsonl").write_text("\n".join(documents))
    queries = [json.dumps({"_id": f"q{n}", "text": text}) for n, text in enumerate(("river stone", "amber bridge"))]
    (folder / "queries.jsonl").write_text("\n".join(queries))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td2\t1\n")
    return folder


def test_the_best_ten_are_compared_and_a_device_that_misses_some_is_red(beir, tmp_path, monkeypatch):
    monkeypatch.setattr("colbert_rag.index.ranker_for", lambda device: ProcessorRanker())
    searched = gpu.Searched(beir, "cuda", 4, tmp_path, HashEncoder(dim=32))
    assert searched.differences() == []
    lines = list(searched.speeds(with_peers=True))
    assert [line.split(",")[0] for line in lines[:4]] == ["ours on cpu"] * 4
    assert lines[4].startswith("fast-plaid: not measured")
    searched.on_device.search_vectors = lambda queries, k, config: searched.on_processor.search_vectors(
        [np.ascontiguousarray(query[:1]) for query in queries], k, config=config
    )
    assert len(searched.differences()) == 2
    searched.on_processor.close()
