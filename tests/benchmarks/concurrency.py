"""Concurrent callers of ``Index.asearch`` against the same callers one after another.

    python tests/benchmarks/concurrency.py [FOLDER] [--callers 200] [--rounds 5] [--index PATH] [--json FILE]

FOLDER is a judged collection in BEIR's layout, by default the sentences in examples/data; --index keeps its
index for the next run. Both ways ask the same questions in alternating rounds, and no question is in the
encoder's memory when its round begins. The last digits of a vector depend on the batch that it was encoded in;
where more than one hit in a thousand differs, no times are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from itertools import islice
from pathlib import Path
from typing import Any

from colbert_rag import Hit, Index
from colbert_rag.evaluation import evaluate, overlap
from colbert_rag.readers import JudgedCorpus, read_judged_corpus

DATA = Path(__file__).parents[2] / "examples" / "data"
FORGOTTEN_AFTER = 256
LEAST_SHARE = 0.999

Way = Callable[[Index, list[str]], Coroutine[Any, Any, list[list[Hit]]]]


async def one_after_another(index: Index, queries: list[str]) -> list[list[Hit]]:
    return [await index.asearch(query) for query in queries]


async def at_once(index: Index, queries: list[str]) -> list[list[Hit]]:
    return list(await asyncio.gather(*(index.asearch(query) for query in queries)))


def timed(way: Way, index: Index, queries: list[str], mark: str) -> tuple[float, list[list[Hit]]]:
    index.encoder.encode_queries([f"{mark} {n}" for n in range(FORGOTTEN_AFTER)])
    start = time.perf_counter()
    hits = asyncio.run(way(index, queries))
    return time.perf_counter() - start, hits


def main() -> None:
    arguments = _arguments()
    data = read_judged_corpus(arguments.folder)
    queries = dict(islice(data.queries.items(), arguments.callers))
    texts = list(queries.values())
    with tempfile.TemporaryDirectory() as folder, _index(arguments.index or Path(folder) / "index", data) as index:
        times: dict[Way, list[float]] = {one_after_another: [], at_once: []}
        shares = []
        for number in range(arguments.rounds):
            found = []
            for way, seconds in times.items():
                spent, hits = timed(way, index, texts, f"{way.__name__} {number}")
                seconds.append(spent)
                found.append({i: [(h.id, h.score) for h in ranked] for i, ranked in zip(queries, hits, strict=True)})
            shares.append(overlap(*found))
        if min(shares) < LEAST_SHARE:
            raise SystemExit(f"of the hits only {min(shares):.4f} are the same: no times")
        run = found[-1]
        qrels = {i: data.qrels[i] for i in queries}
        slow, fast = (statistics.median(seconds) for seconds in times.values())
        row = {
            "collection": arguments.folder.name,
            "documents": len(index),
            "callers": len(texts),
            "nDCG@10": round(evaluate(run, qrels, ["nDCG@10"])["nDCG@10"], 4),
            "same_hits": round(min(shares), 4),
            "one_after_another_s": round(slow, 3),
            "at_once_s": round(fast, 3),
            "ratio": round(fast / slow, 3),
        }
    print(json.dumps(row))
    if arguments.json:
        arguments.json.write_text(json.dumps(row) + "\n")


def _index(path: Path, data: JudgedCorpus) -> Index:
    index = Index.open_or_create(path)
    index.upsert(data.documents)
    return index


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=DATA)
    parser.add_argument("--callers", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--index", type=Path)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
