"""Searches and writes that race on one index, in threads and in processes of their own.

The writer publishes what the next commit will hold before it commits, and the number of the commit after that. A
searcher checks each answer against what was published: it must be one commit, whole, no older than the newest that
was announced before the search began, and no older than what the same searcher has seen before.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import traceback
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
from lifeline import end_with_parent
from stored_index import maxsim

from colbert_rag import Document, Index, SearchConfig
from colbert_rag.testing import HashEncoder

__all__ = ["OPTIONS", "Published", "Start", "create", "search_until", "searching_process", "writing_process"]

ENCODER = HashEncoder(dim=16)
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "glade", "heath"]
OPTIONS = {"exact": {"exact_tokens": 10**9}, "lists": {"exact_tokens": 100, "probe_tokens": 1}}
# scores against those of the vectors before they were stored: float16, or 4 bits of 16 dimensions
TOLERANCE = {"exact": 5e-3, "lists": 0.3}
N_IDS = 40
_MOST_START_S = 120


def document(number: int, version: int) -> Document:
    """A document whose words depend on its version; "every" lets a search for words find all."""
    words = random.Random(f"{number} {version}").choices(WORDS, k=1 + version % 5)
    return Document(f"d{number:02}", f"every {' '.join(words)} v{version}", {"even": number % 2 == 0})


def create(folder: Path, kind: str) -> None:
    """An index of some documents, and what is published of them."""
    state = dict.fromkeys(range(0, N_IDS, 2), 0)
    publish(folder, 1, state)
    with Index.create(folder / "index", ENCODER, **OPTIONS[kind]) as index:
        index.add([document(*item) for item in state.items()])
    announce(folder, 1)


def publish(folder: Path, commit: int, state: dict[int, int]) -> None:
    with (folder / "published").open("a") as file:
        file.write(json.dumps([commit, list(state.items())]) + "\n")


def announce(folder: Path, commit: int) -> None:
    (folder / "announced.new").write_text(str(commit))
    (folder / "announced.new").replace(folder / "announced")


def announced(folder: Path) -> int:
    return int((folder / "announced").read_text())


class Published:
    """The commits that the writer has published, by what a search for everything must find."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / "published").open()
        self._commits: dict[frozenset[tuple[str, str]], list[int]] = defaultdict(list)

    def first_since(self, found: frozenset[tuple[str, str]], commit: int, *, is_even: bool) -> int | None:
        """The first commit from a given one on that gives such ids and texts; None if there is none."""
        # a line that is not whole yet is of a commit that is not made yet: it was published first
        while (line := self._whole_line()) is not None:
            number, state = json.loads(line)
            documents = [document(*item) for item in state]
            self._commits[frozenset((d.id, d.text) for d in documents)].append(number)
            evens = frozenset((d.id, d.text) for d in documents if d.metadata["even"])
            self._commits[evens | {("even", "")}].append(number)
        commits = self._commits[found | {("even", "")} if is_even else found]
        place = bisect_left(commits, commit)
        return commits[place] if place < len(commits) else None

    def _whole_line(self) -> str | None:
        place = self._file.tell()
        line = self._file.readline()
        if line.endswith("\n"):
            return line
        self._file.seek(place)
        return None

    def close(self) -> None:
        self._file.close()


def search_until(folder: Path, kind: str, end: float, seed: str, is_over: Callable[[], bool] = lambda: False) -> int:
    """Search until a time or until it is over, through one object and through fresh ones; returns how often."""
    rng, n_searches, seen = random.Random(seed), 0, 0
    with closing(Published(folder)) as published, Index.open(folder / "index", ENCODER) as lasting:
        while time.monotonic() < end and not is_over():
            least = max(seen, announced(folder))
            with ExitStack() as stack:
                is_fresh = rng.random() < 0.1
                index = stack.enter_context(Index.open(folder / "index", ENCODER)) if is_fresh else lasting
                found, is_even = _search(index, kind, rng)
                if n_searches % 50 == 49:
                    report = index.verify()
                    assert report.problems == (), report.problems
            commit = published.first_since(found, least, is_even=is_even)
            assert commit is not None, f"no commit from {least} on is {sorted(found)}"
            seen = commit
            n_searches += 1
    return n_searches


def _search(index: Index, kind: str, rng: random.Random) -> tuple[frozenset[tuple[str, str]], bool]:
    mode, is_even = rng.choice(["maxsim", "maxsim", "bm25", "hybrid"]), rng.random() < 0.3
    query = " ".join(["every", *rng.sample(WORDS, 2)])
    config = SearchConfig(exact=rng.random() < 0.5, passages=rng.randrange(2))
    hits = index.search(query, 1_000, mode=mode, filter={"even": True} if is_even else None, config=config)
    order = [(-hit.score, hit.id) for hit in hits]
    assert order == sorted(order)
    if mode == "maxsim":
        [asked] = ENCODER.encode_queries([query])
        vectors = [d.vectors.astype(np.float32) for d in ENCODER.encode_documents([hit.text for hit in hits])]
        for hit, made in zip(hits, vectors, strict=True):
            assert abs(hit.score - maxsim(asked, made)) < TOLERANCE[kind] * len(asked)
    found = frozenset((hit.id, hit.text) for hit in hits)
    assert len(found) == len(hits)
    return found, is_even


def write_until(folder: Path, end: float, seed: str) -> int:
    """Add, upsert, delete and compact until a time; returns the number of commits."""
    rng, version, commit = random.Random(seed), 1, 1
    state = dict.fromkeys(range(0, N_IDS, 2), 0)
    with Index.open(folder / "index", ENCODER) as index:
        while time.monotonic() < end:
            what, some = rng.choice(["add", "upsert", "upsert", "delete", "compact"]), rng.sample(range(N_IDS), 4)
            new = {n: version for n in some if what == "upsert" or n not in state} if what in ("add", "upsert") else {}
            state = {n: v for n, v in (state | new).items() if what != "delete" or n not in some or len(state) < 9}
            gone = [f"d{n:02}" for n in some if n not in state] if what == "delete" else []
            commit, version = commit + 1, version + 1
            publish(folder, commit, state)
            if what == "compact":
                index.compact()
            elif what == "delete":
                index.delete(gone)
            else:
                (index.add if what == "add" else index.upsert)([document(*item) for item in new.items()])
            announce(folder, commit)
    return commit


@dataclass(frozen=True)
class Start:
    """When the race begins: as soon as every process is ready, however long that takes.

    Attributes:
        ready: Of all processes of the race.
        seconds: That the race takes from there.
    """

    ready: Barrier
    seconds: float

    def end(self) -> float:
        """Wait for the others; returns when the race ends."""
        self.ready.wait(_MOST_START_S)
        return time.monotonic() + self.seconds


def searching_process(folder: Path, kind: str, start: Start, seed: str) -> None:
    """As the target of a process: what happened lies in a file named after it."""

    def work() -> int:
        # one search has compiled what later ones use
        search_until(folder, kind, time.monotonic() + 1e-3, seed)
        return search_until(folder, kind, start.end(), seed)

    _report(folder, start, work)


def writing_process(folder: Path, start: Start, seed: str) -> None:
    """As the target of a process."""
    _report(folder, start, lambda: write_until(folder, start.end(), seed))


def _report(folder: Path, start: Start, work: Callable[[], int]) -> None:
    end_with_parent()
    try:
        said = str(work())
    except BaseException:
        said = traceback.format_exc()
        print(said, file=sys.stderr, flush=True)
        # nobody waits for one that will not come
        start.ready.abort()
    (folder / f"report-{os.getpid()}").write_text(said)
