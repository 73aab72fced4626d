"""The benchmarks: measure, add rows to results.jsonl, draw the tables of docs/benchmarks.md.

    python tests/benchmarks/run.py [--only NAME …] [--data FOLDER …] [--documents N] [--tokens N] [--peers FOLDER]
    python tests/benchmarks/run.py --tables

The data are collections in BEIR's layout, by default the sentences in examples/data. The first one is searched; all
of them in a row, repeated with noise where they do not suffice, are the large corpus of `growth` and `memory`. Vectors
are made once by the built-in model and kept. Peers run from the pinned versions of peers.txt in an environment of their
own, which is made on first use. Every speed stands behind a gate: where the same index fails its bound of quality, the
row says so and no time is written. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from suite import results
from suite.collection import Collection, grow, prepare
from suite.picture import draw_growth
from suite.registry import BENCHMARKS, Bench, Benchmark

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURE = ROOT / "docs" / "growth.svg"
PEERS = Path(__file__).with_name("peers.txt")
LARGE_QUERIES = 300

for module in ("searching", "building", "starting", "reranking"):
    importlib.import_module(f"suite.{module}")


def main() -> None:
    given = _arguments()
    if not given.tables:
        chosen = [BENCHMARKS[name] for name in given.only or BENCHMARKS]
        run = results.Run.now()
        given.cache.mkdir(parents=True, exist_ok=True)
        for benchmark in chosen:
            _measure(benchmark, given, run)
    if given.tables or given.results == results.FILE:
        rows = results.read(given.results)
        results.draw(PAGE, rows)
        draw_growth(PICTURE, rows)


def _measure(benchmark: Benchmark, given: argparse.Namespace, run: results.Run) -> None:
    print(f"== {benchmark.name}", flush=True)
    peer_python = _peers(given.peers) if "peers" in benchmark.needs else None
    first, *_ = collections = _collections(given, is_large="large corpus" in benchmark.needs)
    large = grow(collections, given.tokens, LARGE_QUERIES, given.cache) if "large corpus" in benchmark.needs else None
    # not in /tmp, which may be memory: indexes are large
    with tempfile.TemporaryDirectory(dir=given.cache) as folder:
        python = Path(sys.executable)
        bench = Bench(first, large, python, peer_python, given.threads, given.rounds, Path(folder))
        for result in benchmark.run(bench):
            results.append(given.results, run.rows(benchmark.name, result))
            shown = ", ".join(f"{metric} {value}" for metric, value in result.values().items())
            print(f"{result.collection} | {result.setting} | {shown}", flush=True)


def _collections(given: argparse.Namespace, *, is_large: bool) -> list[Collection]:
    from colbert_rag import Encoder

    encoder = Encoder()
    folders = given.data if is_large else given.data[:1]
    return [prepare(folder, given.cache, encoder, given.documents, given.queries) for folder in folders]


def _peers(folder: Path) -> Path:
    """The interpreter of the peers' environment, made unless it is there with these versions."""
    python, made_of = folder / "bin" / "python", folder / PEERS.name
    wanted = PEERS.read_text(encoding="utf-8")
    if not made_of.exists() or made_of.read_text(encoding="utf-8") != wanted:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r", str(PEERS)], check=True)
        made_of.write_text(wanted, encoding="utf-8")
    return python


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=sorted(BENCHMARKS), help="these benchmarks; all by default")
    parser.add_argument("--data", type=Path, nargs="+", default=[ROOT / "examples" / "data"])
    parser.add_argument("--documents", type=int, help="only so many of each collection, those with answers first")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=20_000_000, help="token vectors of the large corpus")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="cores of every engine")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "benchmarks", help="where vectors are kept")
    parser.add_argument("--peers", type=Path, default=ROOT / "build" / "peers", help="the peers' environment")
    parser.add_argument("--results", type=Path, default=results.FILE)
    parser.add_argument("--tables", action="store_true", help="measure nothing, draw the tables of the document")
    return parser.parse_args()


if __name__ == "__main__":
    main()
