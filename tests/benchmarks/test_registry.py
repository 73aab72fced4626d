"""A red gate writes no speed, rows have the fields that the documents' tables are drawn from, engines take turns."""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from colbert_rag import Document, TokenVectors
from colbert_rag.readers import JudgedCorpus
from colbert_rag.testing import HashEncoder

sys.path.append(str(Path(__file__).parent))

from suite import collection as collections
from suite.collection import FOUND, LOSS, NDCG, Collection, grow, prepare, store
from suite.picture import TIME, TOKENS, draw_growth
from suite.registry import BENCHMARKS, Bench, benchmark
from suite.results import Bound, Result, Run, append, draw, read
from suite.worker import Player, Worker, compare

for module in ("searching", "building", "starting", "reranking"):
    importlib.import_module(f"suite.{module}")

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
BOUNDS = (Bound(FOUND, least=0.97), Bound(LOSS, most=0.003))
RUN = Run("2026-01-02T03:04:05+00:00", "abc1234", "a processor, 2 cores")
LATER = Run("2026-01-03T03:04:05+00:00", "def5678", "a processor, 2 cores")
needs_linux = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the benchmarks run on Linux only")


def result(found: float = 0.98, loss: float = 0.001, setting: str = "4 bits", ms: float = 12.5) -> Result:
    return Result("a collection", setting, 2, {FOUND: found, LOSS: loss}, BOUNDS, {"median ms": ms, "build s": 3.0})


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Collection:
    rng = np.random.default_rng(1)

    def units(size: int) -> np.ndarray:
        rows = rng.standard_normal((size, 16), np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    documents = [Document(f"d{n}", f"text {n}") for n in range(40)]
    queries = {f"q{n}": f"question {n}" for n in range(7)}
    data = JudgedCorpus(documents, queries, {f"q{n}": {f"d{3 * n}": 1} for n in range(7)})
    tokens = [TokenVectors(units(n), np.zeros((n, 2), np.int32)) for n in rng.integers(1, 20, 40)]
    folder = tmp_path_factory.mktemp("cache") / "small"
    store(folder, "small", data, tokens, [units(n) for n in rng.integers(1, 5, 7)])
    return Collection.open(folder)


def by_hand(collection: Collection) -> list[list[float]]:
    vectors, offsets = np.asarray(collection.load("vectors"), np.float64), collection.load("offsets")
    queries, ends = collection.load("queries"), collection.load("query_offsets")
    documents = [vectors[a:b] for a, b in pairwise(offsets)]
    return [
        [sum(max(float(row @ token) for row in rows) for token in queries[a:b]) for rows in documents]
        for a, b in pairwise(ends)
    ]


@pytest.mark.parametrize(
    "red", [result(found=0.96), result(loss=0.004), result(found=math.nan), result(found=0.5, loss=math.nan)]
)
def test_a_red_gate_writes_the_quality_and_the_reason_and_no_speed(red):
    metrics = {row.metric: row.value for row in RUN.rows("search", red)}
    assert metrics.keys() == {FOUND, LOSS, "gate"}
    assert metrics["gate"].startswith("red: ")


def test_the_reason_of_a_red_gate_names_what_was_found_and_expected():
    assert result(found=0.96).gate == f"red: {FOUND} 0.9600, at least 0.97 expected"
    assert result(loss=0.004).gate == f"red: {LOSS} 0.0040, at most 0.003 expected"


def test_a_green_gate_writes_the_speed_beside_the_quality():
    values = {row.metric: row.value for row in RUN.rows("search", result(found=0.97, loss=0.003))}
    assert values == {FOUND: 0.97, LOSS: 0.003, "gate": "green", "median ms": 12.5, "build s": 3.0}


def test_a_quality_that_was_not_measured_is_no_green_gate():
    with pytest.raises(KeyError, match=FOUND):
        _ = Result("a collection", "4 bits", 2, {LOSS: 0.0}, BOUNDS, {}).gate


def test_a_row_says_when_where_what_and_how_much(tmp_path):
    file = tmp_path / "results.jsonl"
    append(file, RUN.rows("search", result()))
    append(file, LATER.rows("search", result()))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["date"] for line in lines] == [RUN.date] * 5 + [LATER.date] * 5
    assert lines[3] == {
        "date": "2026-01-02T03:04:05+00:00",
        "commit": "abc1234",
        "machine": "a processor, 2 cores",
        "threads": 2,
        "benchmark": "search",
        "collection": "a collection",
        "setting": "4 bits",
        "metric": "median ms",
        "value": 12.5,
    }
    assert read(file) == [*RUN.rows("search", result()), *LATER.rows("search", result())]


def test_the_facts_of_a_run_are_those_of_this_machine():
    run = Run.now()
    assert run.machine.endswith(f", {os.cpu_count()} cores")
    assert run.commit


def test_tables_are_drawn_from_the_newest_rows_between_their_comments(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench search -->\nold\n<!-- end of bench search -->\nafter\n")
    new = [*LATER.rows("search", result(ms=9.25)), *LATER.rows("search", result(0.5, setting="2 bits"))]
    draw(page, [*RUN.rows("search", result()), *new])
    assert page.read_text().splitlines() == [
        "before",
        "<!-- bench search -->",
        "",
        "a collection; 2026-01-03, commit def5678, a processor, 2 cores:",
        "",
        f"| setting | cores | {FOUND} | {LOSS} | gate | median ms | build s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| 4 bits | 2 | 0.9800 | 0.0010 | green | 9.2500 | 3.0000 |",
        f"| 2 bits | 2 | 0.5000 | 0.0010 | red: {FOUND} 0.5000, at least 0.97 expected |  |  |",
        "",
        "<!-- end of bench search -->",
        "after",
    ]


def test_a_page_without_the_comments_is_left_as_it_is(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench search -->\nold\n")
    with pytest.raises(SystemExit, match="end of bench search"):
        draw(page, list(RUN.rows("search", result())))
    assert page.read_text() == "before\n<!-- bench search -->\nold\n"


def test_every_benchmark_has_its_place_in_the_document():
    text = PAGE.read_text(encoding="utf-8")
    missing = [n for n in BENCHMARKS if f"<!-- bench {n} -->" not in text or f"<!-- end of bench {n} -->" not in text]
    assert sorted(BENCHMARKS) == ["build", "cold", "growth", "memory", "peers", "rerank", "search"]
    assert missing == []


def test_a_name_is_given_to_one_benchmark_only():
    def search(_: Bench):
        yield result()

    before = BENCHMARKS["search"]
    with pytest.raises(ValueError, match="two benchmarks"):
        benchmark()(search)
    assert BENCHMARKS["search"] is before


class Answering:
    """A worker that answers at once, rightly or with documents that nothing says are best."""

    def __init__(self, collection: Collection, asked: list[str], name: str, *, is_right: bool) -> None:
        self.collection, self.threads, self._asked, self._name = collection, 2, asked, name
        self._found = [list(reversed(range(10))) for _ in collection.exact()]
        if is_right:
            self._found = collection.exact()

    def ask(self, do: str, queries: list[int], **_: object) -> dict[str, list]:
        assert do == "search"
        self._asked.append(f"{self._name}{queries[0]}")
        return {"found": [self._found[n] for n in queries], "seconds": [0.25] * len(queries)}


def test_what_finds_the_wrong_documents_is_never_timed_and_the_others_take_turns(small, monkeypatch):
    monkeypatch.setattr("suite.worker._BLOCK", 4)
    asked: list[str] = []
    players = [
        Player(Answering(small, asked, name, is_right=name != "B"), name, (Bound(FOUND, least=0.97),)) for name in "ABC"
    ]
    results = compare(players, rounds=2)
    assert asked == ["A0", "B0", "C0", *("A0", "C0", "C4", "A4"), *("A0", "C0", "C4", "A4")]
    assert [r.gate == "green" for r in results] == [True, False, True]
    assert results[0].speed == {"median ms": 250.0, "p95 ms": 250.0, "queries per s": 4.0}
    assert results[1].speed == {}


def test_sizes_stand_behind_the_gate_too(small):
    worker = Answering(small, [], "B", is_right=False)
    [red] = compare([Player(worker, "B", (Bound(FOUND, least=0.97),), sizes={"build s": 1.0})], rounds=1)
    assert "build s" not in red.values()


def test_exact_maxsim_is_that_of_plain_loops_over_blocks_of_any_size(small, monkeypatch, tmp_path):
    arrays = (np.asarray(small.load(name)) for name in ("vectors", "queries", "query_offsets", "offsets"))
    monkeypatch.setattr(collections, "_BLOCK_TOKENS", 8)
    monkeypatch.setattr(collections, "_BLOCK_QUERIES", 3)
    np.testing.assert_allclose(collections._maxsim(*arrays), by_hand(small), atol=1e-5)


def test_quality_is_measured_against_the_exact_ranking_and_the_judgements(small):
    exact = small.exact()
    assert exact == [sorted(range(40), key=lambda n, row=row: -row[n])[:10] for row in by_hand(small)]
    perfect = small.quality(dict(enumerate(exact)))
    assert (perfect[FOUND], perfect[LOSS]) == (1.0, 0.0)
    halves = small.quality({n: row[:5] for n, row in enumerate(exact)})
    assert halves[FOUND] == 0.5
    judged = small.quality({n: [3 * n] for n in range(7)})
    assert judged[NDCG] == 1.0
    assert judged[LOSS] == pytest.approx(perfect[NDCG] - 1.0)


class CountingEncoder(HashEncoder):
    encoded = 0

    def encode_documents(self, texts, *, progress=None):
        self.encoded += len(texts)
        return super().encode_documents(texts, progress=progress)


def test_a_collection_is_encoded_once_for_each_model_and_again_when_a_text_changes(tmp_path):
    source, cache = beir(tmp_path / "animals", ["cat", "dog", "emu"], {"emu": 2, "dog": 1}), tmp_path / "cache"
    encoder, other = CountingEncoder(16), CountingEncoder(16, seed=1)
    first = prepare(source, cache, encoder, None, 300)
    assert prepare(source, cache, encoder, None, 1) == replace(first, n_queries=1)
    assert encoder.encoded == 3
    prepare(source, cache, other, None, 300)
    beir(source, ["cat", "dog", "gnu"], {"gnu": 2})
    prepare(source, cache, encoder, None, 300)
    assert (encoder.encoded, other.encoded) == (6, 3)
    assert [best for best, *_ in first.exact()] == [2, 1]
    assert first.quality({0: [2], 1: [1]})[NDCG] == 1.0


def test_a_part_of_a_collection_holds_what_its_queries_ask_for(tmp_path):
    source = beir(tmp_path / "animals", ["cat", "dog", "emu"], {"emu": 2, "dog": 1})
    part = prepare(source, tmp_path / "cache", HashEncoder(16), 2, 300)
    assert (part.name, part.n_documents, part.n_queries) == ("animals, 2 documents", 2, 2)
    assert json.loads((part.folder / "texts.json").read_text()) == ["dog", "emu"]
    smaller = prepare(source, tmp_path / "cache", HashEncoder(16), 1, 300)
    assert (smaller.n_queries, smaller.qrels) == (1, {"0": {"0": 1}})


def beir(folder: Path, texts: list[str], answers: dict[str, int]) -> Path:
    """A collection whose queries are answered by the document of that number."""
    folder.mkdir(exist_ok=True)
    rows = {
        "corpus.jsonl": [{"_id": f"d{n}", "text": text} for n, text in enumerate(texts)],
        "queries.jsonl": [{"_id": f"q{n}", "text": text} for n, text in enumerate(answers)],
    }
    for name, lines in rows.items():
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    judged = "".join(f"q{n}\td{document}\t1\n" for n, document in enumerate(answers.values()))
    (folder / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return folder


def test_a_grown_corpus_is_the_real_one_and_then_the_same_with_noise(small, tmp_path):
    n_real = small.n_tokens
    grown = grow([small], 2 * n_real + 5, 3, tmp_path)
    vectors = np.asarray(grown.load("vectors"), np.float32)
    assert (grown.n_tokens, grown.n_documents, grown.n_queries) == (2 * n_real + 5, 81, 3)
    assert f"{n_real:,} token vectors and {n_real + 5:,} of them again with noise" in grown.name
    np.testing.assert_array_equal(vectors[:n_real], small.load("vectors"))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=2e-3)
    cosines = (vectors[:n_real] * vectors[n_real : 2 * n_real]).sum(axis=1)
    assert 0.8 < cosines.min() < cosines.max() < 0.9999


def test_a_smaller_size_of_a_grown_corpus_holds_whole_documents_only(small, tmp_path):
    grown = grow([small], small.n_tokens, 3, tmp_path)
    offsets = small.load("offsets").tolist()
    assert grown.first(offsets[9]).n_documents == 9
    assert grown.first(offsets[10] - 1).n_documents == 9
    assert grown.first(offsets[9]).exact() == [sorted(range(9), key=lambda n, r=r: -r[n]) for r in by_hand(small)[:3]]


@needs_linux
def test_an_engine_in_its_own_process_finds_what_exact_maxsim_finds(small, tmp_path):
    with Worker(Path(sys.executable), "ours", small, tmp_path / "index", 1) as worker:
        sizes = worker.build(bits=4)
        one = Player(worker, "one", BOUNDS, {"passages": 0})
        many = Player(worker, "many", BOUNDS, {"passages": 0}, batch=2, callers=2, sizes=sizes)
        results = compare([one, many], rounds=1)
        scores = worker.ask("score", queries=[0, 1], n_documents=5, n_tokens=4)["scores"]
    assert [r.quality[FOUND] for r in results] == [1.0, 1.0]
    assert results[0].speed.keys() == {"median ms", "p95 ms", "queries per s"}
    assert results[1].speed.keys() == {"queries per s", "build s", "peak MiB", "peak MiB above start"}
    vectors = np.asarray(small.load("vectors")[:20], np.float64).reshape(5, 4, -1)
    queries, ends = small.load("queries"), small.load("query_offsets")
    expected = [(vectors @ queries[ends[n] : ends[n + 1]].T).max(axis=1).sum(axis=1) for n in (0, 1)]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@needs_linux
def test_an_engine_that_dies_tells_its_last_words(small, tmp_path):
    worker = Worker(Path(sys.executable), "no such engine", small, tmp_path / "index", 1)
    with pytest.raises(ChildProcessError, match="KeyError: 'no such engine'"), worker:
        pass


def test_a_peer_is_refused_to_a_benchmark_that_did_not_ask_for_the_peers(small, tmp_path):
    bench = Bench(small, None, Path(sys.executable), None, 1, 1, tmp_path)
    with pytest.raises(ValueError, match="needs"), bench.worker("fast-plaid"):
        pass


def test_growth_is_drawn_from_its_newest_rows(tmp_path):
    def rows(run, times):
        for tokens, ms in times.items():
            grown = Result("large", f"{tokens} tokens", 2, {FOUND: 0.97}, (), {TOKENS: tokens, TIME: ms})
            yield from run.rows("growth", grown)

    picture = tmp_path / "growth.svg"
    draw_growth(picture, list(rows(RUN, {1e6: 3.0})))
    assert not picture.exists()
    draw_growth(picture, [*rows(RUN, {1e6: 9.0, 4e6: 99.0}), *rows(LATER, {1e6: 3.0, 4e6: 5.0, 16e6: 8.25})])
    root = ElementTree.fromstring(picture.read_text())
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"3.0", "5.0", "8.2", "1 M", "4 M", "16 M"} <= set(texts)
    assert "99.0" not in texts
    line, *_ = (e for e in root.iter("{http://www.w3.org/2000/svg}polyline") if "stroke-dasharray" not in e.attrib)
    places = [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]
    # to the right and up, at equal steps where the sizes have equal ratios
    assert [a < b for a, b in pairwise(x for x, _ in places)] == [True, True]
    assert [a > b for a, b in pairwise(y for _, y in places)] == [True, True]
    assert places[1][0] - places[0][0] == pytest.approx(places[2][0] - places[1][0], abs=0.2)
