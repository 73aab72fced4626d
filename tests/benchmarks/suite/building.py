"""Building ours from given vectors: time and memory."""

from __future__ import annotations

from collections.abc import Iterator

from suite.registry import Bench, benchmark
from suite.results import Result
from suite.searching import BOUNDS, bytes_per_token
from suite.worker import Player

__all__: list[str] = []


@benchmark()
def build(bench: Bench) -> Iterator[Result]:
    """Ours at 4 and 2 bits; a speed counts only if the index then finds what it should."""
    collection = bench.collection
    for bits, bounds in BOUNDS.items():
        with bench.worker("ours") as worker:
            sizes = {**worker.build(bits=bits), **bytes_per_token(worker), "vectors MiB": _mib(bench)}
            found = Player(worker, "", ()).search(range(collection.n_queries))["found"]
            quality = collection.quality(dict(enumerate(found)))
            yield Result(collection.name, f"{bits} bits", bench.threads, quality, bounds, sizes)


def _mib(bench: Bench) -> float:
    vectors = bench.collection.load("vectors")[: bench.collection.n_tokens]
    return vectors.nbytes / 2**20
