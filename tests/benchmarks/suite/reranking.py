"""Exact reranking of documents in memory, beside maxsim-cpu."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from suite.registry import Bench, benchmark
from suite.results import Bound, Result

__all__: list[str] = []

N_DOCUMENTS, N_TOKENS, N_QUERIES = 100, 300, 50
# of longer queries maxsim-cpu 0.1.0 computes something else on x86: its linked library finds no matrix product there
_LONGEST_QUERY = 32
_ERROR = "greatest relative error"
_BOUNDS = (Bound(_ERROR, most=1e-3),)
_BLOCK = 10


@benchmark("peers")
def rerank(bench: Bench) -> Iterator[Result]:
    """100 documents of 300 tokens, the query's vectors given, engines in turns."""
    collection = bench.collection
    if collection.n_tokens < N_DOCUMENTS * N_TOKENS:
        msg = f"{collection.name}: rerank takes {N_DOCUMENTS * N_TOKENS:,} token vectors, found {collection.n_tokens:,}"
        raise SystemExit(msg)
    lengths = np.diff(collection.load("query_offsets")[: collection.n_queries + 1])
    numbers = np.flatnonzero(lengths <= _LONGEST_QUERY)[:N_QUERIES].tolist()
    engines = {"ours": "Reranker.rerank, passages=0", "maxsim-cpu": "maxsim-cpu, maxsim_scores"}
    exact = _exact(bench, numbers)
    with bench.worker("ours") as ours, bench.worker("maxsim-cpu") as theirs:
        workers = dict(zip(engines, (ours, theirs), strict=True))
        size = {"n_documents": N_DOCUMENTS, "n_tokens": N_TOKENS}
        errors = {}
        for name, worker in workers.items():
            scores = np.array(worker.ask("score", queries=numbers, **size)["scores"])
            errors[name] = float((np.abs(scores - exact) / np.abs(exact)).max())
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        order = list(workers)
        for _ in range(bench.rounds):
            for first in range(0, len(numbers), _BLOCK):
                for name in order:
                    queries = numbers[first : first + _BLOCK]
                    seconds[name] += workers[name].ask("score", queries=queries, **size)["seconds"]
                order.reverse()
    for name, setting in engines.items():
        speed = {"median ms": 1000 * float(np.median(seconds[name]))}
        yield Result(collection.name, setting, bench.threads, {_ERROR: errors[name]}, _BOUNDS, speed)


def _exact(bench: Bench, numbers: list[int]) -> np.ndarray:
    vectors = bench.collection.load("vectors")[: N_DOCUMENTS * N_TOKENS].astype(np.float64)
    queries, ends = bench.collection.load("queries"), bench.collection.load("query_offsets")
    tables = (vectors @ queries[ends[n] : ends[n + 1]].T for n in numbers)
    return np.array([table.reshape(N_DOCUMENTS, N_TOKENS, -1).max(axis=1).sum(axis=1) for table in tables])
