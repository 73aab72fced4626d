"""The benchmarks by name, and what each needs before it can begin."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from suite.collection import Collection
from suite.results import Result
from suite.worker import Worker

__all__ = ["BENCHMARKS", "Bench", "Benchmark", "benchmark"]

Need = Literal["peers", "large corpus"]


@dataclass(frozen=True)
class Bench:
    """What a benchmark is given.

    Attributes:
        collection: The judged collection.
        large: A corpus of many tokens, where the benchmark needs it.
        python: The interpreter of ours.
        peer_python: The interpreter of the peers' environment, where the benchmark needs it.
        threads: Cores that every engine may use.
        rounds: How often the timed queries are repeated.
        folder: For indexes; removed when the benchmark is over.
    """

    collection: Collection
    large: Collection | None
    python: Path
    peer_python: Path | None
    threads: int
    rounds: int
    folder: Path

    @contextmanager
    def worker(self, engine: str, collection: Collection | None = None, index: Path | None = None) -> Iterator[Worker]:
        """An engine in a process of its own, with an index that is there, or an empty folder for one."""
        python = self.python if engine == "ours" else self.peer_python
        if python is None:
            msg = f"the benchmark asks for the peer {engine} and is not registered with needs=('peers',)."
            raise ValueError(msg)
        place = index or Path(tempfile.mkdtemp(dir=self.folder, prefix=f"{engine}-")) / "index"
        with Worker(python, engine, collection or self.collection, place, self.threads) as worker:
            yield worker


@dataclass(frozen=True)
class Benchmark:
    """A function with a name and what it needs.

    Attributes:
        name: What ``make bench ONLY=`` calls it.
        needs: What takes long to set up and only some benchmarks want.
        run: Yields results as they come.
    """

    name: str
    needs: tuple[Need, ...]
    run: Callable[[Bench], Iterator[Result]]


BENCHMARKS: dict[str, Benchmark] = {}


def benchmark(*needs: Need) -> Callable[[Callable[[Bench], Iterator[Result]]], Callable[[Bench], Iterator[Result]]]:
    """Register a function under its own name."""

    def register(run: Callable[[Bench], Iterator[Result]]) -> Callable[[Bench], Iterator[Result]]:
        if run.__name__ in BENCHMARKS:
            msg = f"two benchmarks are called {run.__name__!r}; a name is given once."
            raise ValueError(msg)
        BENCHMARKS[run.__name__] = Benchmark(run.__name__, needs, run)
        return run

    return register
