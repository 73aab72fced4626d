"""Quality, size and time of compressed search beside exact MaxSim, on a judged collection.

    python tests/benchmarks/quality.py FOLDER [--bits 4 2 1] [--vectors FILE.npz] [--json FILE]

FOLDER has corpus.jsonl.gz, queries.jsonl.gz and qrels.tsv (BEIR's layout). The documents are encoded
once, with the built-in model; --vectors keeps the encoded vectors for the next run.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from colbert_rag import Document, Encoder, Hit, Index, SearchConfig, TokenVectors
from colbert_rag.evaluation import evaluate
from colbert_rag.kernels import maxsim
from colbert_rag.readers import JudgedCorpus, read_judged_corpus
from colbert_rag.types import Float32Array

K = 10


@dataclass(frozen=True)
class Row:
    setting: str
    ndcg_10: float
    top_10_found: float
    bytes_per_token: float
    median_ms: float
    p95_ms: float
    build_s: float


def main() -> None:
    arguments = _arguments()
    data = read_judged_corpus(arguments.folder)
    encoder = Encoder()
    tokens = document_vectors(encoder, data.documents, arguments.vectors)
    queries = encoder.encode_queries(list(data.queries.values()))
    exact, exact_ms = _exact(tokens, queries, [document.id for document in data.documents])
    ndcg = _ndcg(exact, data)
    n_tokens = sum(len(t.vectors) for t in tokens)
    rows = [Row("exact MaxSim, float16", ndcg, 1.0, 2.0 * encoder.dim, *_times(exact_ms), 0.0)]
    _print_head(data, n_tokens, rows[0])
    for bits in arguments.bits:
        for row in _measure_index(data, tokens, queries, exact, bits):
            rows.append(row)
            _print_row(row)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 4, 2, 1])
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def document_vectors(encoder: Encoder, documents: list[Document], cache: Path | None) -> list[TokenVectors]:
    if cache is not None and cache.exists():
        with np.load(cache) as stored:
            vectors, spans, ends = stored["vectors"], stored["spans"], stored["ends"]
        bounds = zip([0, *ends[:-1]], ends, strict=True)
        return [TokenVectors(vectors[a:b], spans[a:b]) for a, b in bounds]
    begin = time.perf_counter()
    tokens = encoder.encode_documents([document.text for document in documents], progress=_show)
    n = sum(len(t.vectors) for t in tokens)
    print(f"\nencoded {n:,} token vectors in {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    if cache is not None:
        ends = np.cumsum([len(t.vectors) for t in tokens])
        np.savez(
            cache,
            vectors=np.concatenate([t.vectors for t in tokens]),
            spans=np.concatenate([t.spans for t in tokens]),
            ends=ends,
        )
    return tokens


def _show(stage: str, done: int, total: int | None) -> None:
    print(f"\r{stage} {done:,} of {total or 0:,}", end="", file=sys.stderr)


def _exact(
    tokens: list[TokenVectors], queries: list[Float32Array], ids: list[str]
) -> tuple[list[list[tuple[str, float]]], list[float]]:
    packed = np.concatenate([t.vectors for t in tokens])
    offsets = np.cumsum([0, *(len(t.vectors) for t in tokens)]).astype(np.int64)
    runs, seconds = [], []
    for query in queries:
        begin = time.perf_counter()
        scores = maxsim(query, packed, offsets)
        best = np.argsort(-scores, kind="stable")[:K]
        seconds.append(time.perf_counter() - begin)
        runs.append([(ids[n], float(scores[n])) for n in best])
    return runs, seconds


def _measure_index(
    data: JudgedCorpus,
    tokens: list[TokenVectors],
    queries: list[Float32Array],
    exact: list[list[tuple[str, float]]],
    bits: int,
) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        index = Index.create(Path(folder) / "index", dim=tokens[0].vectors.shape[1], bits=bits)
        index.add_vectors(zip(data.documents, tokens, strict=True))
        build_s = time.perf_counter() - begin
        size = index.info().bytes_per_token
        default = SearchConfig()
        settings = {
            "defaults": default,
            "no passages": SearchConfig(passages=0),
            "n_candidates=64": SearchConfig(passages=0, n_candidates=64),
            "n_candidates=256": SearchConfig(passages=0, n_candidates=256),
            "every document": SearchConfig(passages=0, exact=True),
        }
        for name, config in settings.items():
            runs, seconds = _run(lambda query, c=config: index.search_vectors([query], K, config=c)[0], queries)
            found = statistics.mean(_share(run, best) for run, best in zip(runs, exact, strict=True))
            yield Row(f"{bits} bits, {name}", _ndcg(runs, data), found, size, *_times(seconds), build_s)
        index.close()


def _run(
    search: Callable[[Float32Array], list[Hit]], queries: list[Float32Array]
) -> tuple[list[list[tuple[str, float]]], list[float]]:
    search(queries[0])
    runs, seconds = [], []
    for query in queries:
        begin = time.perf_counter()
        hits = search(query)
        seconds.append(time.perf_counter() - begin)
        runs.append([(hit.id, hit.score) for hit in hits])
    return runs, seconds


def _share(run: list[tuple[str, float]], best: list[tuple[str, float]]) -> float:
    return len({i for i, _ in run} & {i for i, _ in best}) / len(best)


def _ndcg(runs: list[list[tuple[str, float]]], data: JudgedCorpus) -> float:
    return evaluate(dict(zip(data.queries, runs, strict=True)), data.qrels, ["nDCG@10"])["nDCG@10"]


def _times(seconds: list[float]) -> tuple[float, float]:
    return 1000 * statistics.median(seconds), 1000 * float(np.quantile(seconds, 0.95))


def _print_head(data: JudgedCorpus, n_tokens: int, row: Row) -> None:
    print(f"{len(data.documents):,} documents, {n_tokens:,} token vectors, {len(data.queries):,} queries")
    print(
        f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}, numpy {np.__version__}"
    )
    print("| setting | nDCG@10 | exact's top 10 found | bytes per token | median ms | p95 ms | build s |")
    print("|---|---|---|---|---|---|---|")
    _print_row(row)


def _print_row(row: Row) -> None:
    numbers = f"{row.ndcg_10:.4f} | {row.top_10_found:.4f} | {row.bytes_per_token:.1f} | {row.median_ms:.1f}"
    print(f"| {row.setting} | {numbers} | {row.p95_ms:.1f} | {row.build_s:.0f} |", flush=True)


if __name__ == "__main__":
    main()
