"""Cold start and resident memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from suite.registry import Bench, benchmark
from suite.results import Bound, Result
from suite.searching import FOUND, bytes_per_token
from suite.worker import Player

__all__: list[str] = []

FIRST_QUERY = Path(__file__).with_name("first_query.py")
_STARTS = 5
_FOUND = (Bound(FOUND, least=0.9),)
# token vectors of an index of a billion bytes at 4 bits and 128 dimensions, full-text index and all
_GIGABYTE = 13_500_000


@benchmark()
def cold(bench: Bench) -> Iterator[Result]:
    """Seconds from starting a process to the hits of its first query, on an index that is there."""
    collection = replace(bench.collection, qrels={})
    questions = json.loads((collection.folder / "questions.json").read_text(encoding="utf-8"))
    queries, ends = collection.load("queries"), collection.load("query_offsets")
    with bench.worker("ours") as worker:
        worker.build(bits=4, is_for_texts=True)
    given = bench.folder / "query.npy"
    for setting in ("encoder loaded from disk", "vectors given"):
        found, seconds = {}, []
        for n in range(min(_STARTS, collection.n_queries)):
            np.save(given, queries[ends[n] : ends[n + 1]])
            query = ["--vectors", str(given)] if setting == "vectors given" else ["--text", questions[n]]
            found[n], spent = _first_query([str(bench.python), str(FIRST_QUERY), str(worker.index), *query])
            seconds.append(spent)
        speed = {"median s": statistics.median(seconds), "longest s": max(seconds)}
        yield Result(collection.name, setting, bench.threads, collection.quality(found), _FOUND, speed)


def _first_query(command: list[str]) -> tuple[list[int], float]:
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        spent = time.perf_counter() - begin
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return json.loads(line), spent


@benchmark("large corpus")
def memory(bench: Bench) -> Iterator[Result]:
    """What opening an index of a gigabyte or so and one query add to a process that has loaded the library."""
    corpus = bench.large.first(min(_GIGABYTE, bench.large.n_tokens))
    with bench.worker("ours", corpus) as builder:
        builder.build(bits=4)
        place = builder.index
    with bench.worker("ours", corpus, place) as worker:
        fields = {"resident MiB": "VmRSS", "of it not files MiB": "RssAnon"}
        before = {metric: worker.memory_mib(field) for metric, field in fields.items()}
        worker.ask("open")
        player = Player(worker, "", (), {"passages": 0})
        player.search([0])
        added = {f"added {metric}": worker.memory_mib(field) - before[metric] for metric, field in fields.items()}
        # the quality of one query says little, and more queries would touch more of the files
        found = player.search(range(corpus.n_queries))["found"]
    quality = corpus.quality(dict(enumerate(found)))
    size = sum(path.stat().st_size for path in worker.index.rglob("*") if path.is_file()) / 2**20
    speed = {"index MiB": size, "libraries: resident MiB": before["resident MiB"], **added, **bytes_per_token(worker)}
    setting = f"4 bits, open and one query, {corpus.n_tokens:,} token vectors"
    yield Result(corpus.name, setting, bench.threads, quality, _FOUND, speed)
