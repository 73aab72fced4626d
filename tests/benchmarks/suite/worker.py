"""Engines in processes of their own, and rounds in which they take turns."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from suite.collection import Collection, K
from suite.results import Bound, Result

__all__ = ["Player", "Worker", "compare"]

ENGINES = Path(__file__).with_name("engines.py")
_POLL_S = 0.02
# queries that an engine answers before it is the next one's turn
_BLOCK = 25
_LAST_WORDS = 2_000


class Worker:
    """A process that holds one engine; ``with`` ends it.

    Args:
        python: The interpreter of the engine's environment.
        engine: Its name in ``engines.py``.
        collection: What it indexes.
        index: The folder of its index.
        threads: Cores that it may use.
    """

    def __init__(self, python: Path, engine: str, collection: Collection, index: Path, threads: int) -> None:
        self.collection, self.index, self.threads = collection, index, threads
        self._engine = engine
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
        cores = sorted(os.sched_getaffinity(0))[:threads]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        self._process = subprocess.Popen(
            [str(python), str(ENGINES), engine, str(collection.folder), str(index), str(collection.n_documents)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | limits,
        )
        os.sched_setaffinity(self._process.pid, cores)

    def __enter__(self) -> Worker:
        try:
            self._reply("start")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request of ``engines.Server`` and wait for its reply.

        Raises:
            ChildProcessError: the process has ended; its last words are in the message.
        """
        # where the process has died, its reply is missing, and that is told
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
        return self._reply(do)

    def _reply(self, do: str) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            words = self._errors.read().decode(errors="replace")[-_LAST_WORDS:]
            msg = f"{self._engine}: the process ended (exit code {self._process.wait()}) at {do!r}; it said:\n{words}"
            raise ChildProcessError(msg)
        return json.loads(line)

    def build(self, **settings: Any) -> dict[str, float]:
        """Make the index and open it: seconds to make, and memory that is no file, before and at its peak."""
        peak = _Peak(self._process.pid)
        with peak:
            reply = self.ask("build", settings=settings)
        self.ask("open")
        added = peak.mib - reply["mib_before"]
        return {"build s": reply["seconds"], "peak MiB": peak.mib, "peak MiB above start": added}

    def memory_mib(self, field: str) -> float:
        """A field of the process's status in /proc, such as VmRSS, MiB."""
        return _memory_mib(self._process.pid, field)


class _Peak:
    """The most memory that is no file which a process holds meanwhile."""

    def __init__(self, pid: int) -> None:
        self.mib = 0.0
        self._pid = pid
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while True:
            self.mib = max(self.mib, _memory_mib(self._pid, "RssAnon"))
            if self._is_over.wait(_POLL_S):
                return

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()


def _memory_mib(pid: int, field: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), 0.0)


@dataclass(frozen=True)
class Player:
    """One setting of an engine whose index is open.

    Attributes:
        worker: The engine.
        setting: What results call it.
        bounds: Which have to hold before it is timed.
        options: What its search takes.
        batch: Queries that are asked together.
        callers: Threads that ask at once.
        sizes: Figures of its index that go with its times.
    """

    worker: Worker
    setting: str
    bounds: Sequence[Bound]
    options: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 1
    callers: int = 1
    sizes: Mapping[str, float] = field(default_factory=dict)

    def search(self, queries: Sequence[int]) -> dict[str, list[Any]]:
        """Rankings and seconds."""
        how = {"k": K, "batch": self.batch, "callers": self.callers, "settings": dict(self.options)}
        return self.worker.ask("search", queries=list(queries), **how)

    def result(self, quality: Mapping[str, float], seconds: Sequence[float], n_queries: int) -> Result:
        """What is written of it."""
        worker = self.worker
        speed = _speed(self, seconds, n_queries) if seconds else {}
        where = worker.collection.name, self.setting, worker.threads
        return Result(*where, quality, self.bounds, {**speed, **self.sizes})


def compare(players: Sequence[Player], rounds: int) -> list[Result]:
    """Judge every player, then time those whose gate is green, in turns: A B C, C B A, A B C, …

    Args:
        players: All answer the queries of their own collection, which must be the same for all.
        rounds: How often every query is timed.
    """
    queries = range(min(player.worker.collection.n_queries for player in players))
    qualities = []
    for player in players:
        found = player.search(queries)["found"]
        qualities.append(player.worker.collection.quality(dict(enumerate(found))))
    judged = [player.result(quality, [], 0) for player, quality in zip(players, qualities, strict=True)]
    seconds: list[list[float]] = [[] for _ in players]
    order = [n for n, result in enumerate(judged) if result.gate == "green"]
    block = max([_BLOCK, *(player.batch * player.callers for player in players)])
    for _ in range(rounds):
        for first in range(0, len(queries), block):
            for n in order:
                seconds[n] += players[n].search(queries[first : first + block])["seconds"]
            order.reverse()
    asked = len(queries) * rounds
    return [p.result(q, s, asked) for p, q, s in zip(players, qualities, seconds, strict=True)]


def _speed(player: Player, seconds: Sequence[float], n_queries: int) -> dict[str, float]:
    rate = {"queries per s": n_queries / sum(seconds)}
    if player.batch > 1 or player.callers > 1:
        return rate
    return {"median ms": 1000 * float(np.median(seconds)), "p95 ms": 1000 * float(np.quantile(seconds, 0.95)), **rate}
