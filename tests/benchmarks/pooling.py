"""What fewer token vectors and fewer dimensions cost, on a judged collection.

    python tests/benchmarks/pooling.py FOLDER [--settings 1x128 2x128 2x64 …] [--vectors FILE.npz] [--json FILE]

FOLDER has corpus.jsonl.gz, queries.jsonl.gz and qrels.tsv (BEIR's layout). A setting is a pool factor and a number of
dimensions. The built-in model encodes the documents once; fewer dimensions are the first of its vectors, normalised
again, as ``Encoder(dim=…)`` gives them. --vectors keeps the encoded documents for the next run; quality.py reads and
writes the same file.

Each setting is measured twice: by exact MaxSim over its vectors, and by the defaults of an index of 4 bits. Its bytes
are divided by the tokens of the texts, not by the vectors that are left. "Same evidence" is how often the first passage
of a relevant document that both indexes find overlaps the one that all vectors choose.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from quality import document_vectors

from colbert_rag import Encoder, Hit, Index, TokenVectors
from colbert_rag.codec import pool_tokens
from colbert_rag.evaluation import evaluate
from colbert_rag.readers import JudgedCorpus, read_judged_corpus
from colbert_rag.types import Float32Array

K = 10
SETTINGS = ["1x128", "2x128", "3x128", "4x128", "1x96", "1x64", "1x32", "2x64"]
# documents are scored with all queries at once, in pieces of about this many token vectors and query vectors
DOCUMENT_TOKENS, QUERY_TOKENS = 4_096, 1_024

Found = list[list[tuple[str, float]]]


@dataclass(frozen=True)
class Row:
    pool_factor: int
    dim: int
    vectors: int
    exact_ndcg_10: float
    index_ndcg_10: float
    same_evidence: float
    bytes_per_token: float
    build_s: float


def main() -> None:
    arguments = _arguments()
    data = read_judged_corpus(arguments.folder)
    encoder = Encoder()
    tokens = document_vectors(encoder, data.documents, arguments.vectors)
    queries = encoder.encode_queries(list(data.queries.values()))
    n_tokens = sum(len(t.vectors) for t in tokens)
    print(f"{len(tokens):,} documents, {n_tokens:,} tokens, {len(queries):,} queries")
    print("| pool factor | dimensions | vectors | nDCG@10, exact | nDCG@10, 4 bits | same evidence | bytes per token |")
    print("|---|---|---|---|---|---|---|")
    reference, _, _ = search_index(data, tokens, queries, 1)
    rows = []
    for setting in arguments.settings:
        factor, dim = map(int, setting.split("x"))
        rows.append(measure(data, cut(tokens, dim), [shortened(q, dim) for q in queries], factor, reference))
        print_row(rows[-1])
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--settings", nargs="+", default=SETTINGS)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def cut(tokens: list[TokenVectors], dim: int) -> list[TokenVectors]:
    return [TokenVectors(shortened(t.vectors, dim).astype(np.float16), t.spans) for t in tokens]


def shortened(vectors: Float32Array, dim: int) -> Float32Array:
    kept = np.asarray(vectors[:, :dim], np.float32)
    return kept / np.linalg.norm(kept, axis=1, keepdims=True)


def measure(
    data: JudgedCorpus,
    tokens: list[TokenVectors],
    queries: list[Float32Array],
    factor: int,
    reference: list[list[Hit]],
) -> Row:
    pooled = [pool_tokens(t, factor) for t in tokens]
    exact = exact_search([t.vectors for t in pooled], queries, [document.id for document in data.documents])
    hits, vector_bytes, build_s = search_index(data, tokens, queries, factor)
    return Row(
        factor,
        tokens[0].vectors.shape[1],
        sum(len(t.vectors) for t in pooled),
        _ndcg(exact, data),
        _ndcg([[(hit.id, hit.score) for hit in found] for found in hits], data),
        same_evidence(hits, reference, data),
        vector_bytes / sum(len(t.vectors) for t in tokens),
        build_s,
    )


def exact_search(documents: Sequence[Float32Array], queries: Sequence[Float32Array], ids: Sequence[str]) -> Found:
    """The ten best of each query by MaxSim in float32."""
    ends = np.cumsum([0, *map(len, documents)])
    starts = np.cumsum([0, *map(len, queries)])[:-1]
    asked = torch.from_numpy(np.concatenate(queries))
    scores = np.empty((len(queries), len(documents)), np.float32)
    first = 0
    while first < len(documents):
        last = max(first + 1, int(ends.searchsorted(ends[first] + DOCUMENT_TOKENS, side="right")) - 1)
        rows = torch.from_numpy(np.concatenate(documents[first:last]).astype(np.float32)).T.contiguous()
        best = [
            np.maximum.reduceat((part @ rows).numpy(), ends[first:last] - ends[first], axis=1)
            for part in asked.split(QUERY_TOKENS)
        ]
        scores[:, first:last] = np.add.reduceat(np.concatenate(best), starts, axis=0)
        first = last
    orders = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    return [[(ids[n], float(row[n])) for n in order] for row, order in zip(scores, orders, strict=True)]


def search_index(
    data: JudgedCorpus, tokens: list[TokenVectors], queries: list[Float32Array], factor: int
) -> tuple[list[list[Hit]], int, float]:
    """Hits of every query, bytes on disk but for the texts, and seconds to build."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        dim = tokens[0].vectors.shape[1]
        # compressed at any size: a pooled collection must not stay below the threshold that the whole one passes
        with Index.create(Path(folder) / "index", dim=dim, pool_factor=factor, exact_tokens=0) as index:
            index.add_vectors(zip(data.documents, tokens, strict=True))
            build_s = time.perf_counter() - begin
            info = index.info()
            return index.search_vectors(queries, K), round(info.bytes_per_token * info.n_tokens), build_s


def same_evidence(hits: list[list[Hit]], reference: list[list[Hit]], data: JudgedCorpus) -> float:
    same = []
    for query_id, found, expected in zip(data.queries, hits, reference, strict=True):
        relevant = {name for name, grade in data.qrels.get(query_id, {}).items() if grade > 0}
        first = {hit.id: hit.passages[0] for hit in expected if hit.id in relevant}
        for hit in found:
            if hit.id in first:
                a, b = hit.passages[0], first[hit.id]
                same.append(a.start < b.end and b.start < a.end)
    return sum(same) / len(same)


def _ndcg(found: Found, data: JudgedCorpus) -> float:
    return evaluate(dict(zip(data.queries, found, strict=True)), data.qrels, ["nDCG@10"])["nDCG@10"]


def print_row(row: Row) -> None:
    quality = f"{row.exact_ndcg_10:.4f} | {row.index_ndcg_10:.4f} | {row.same_evidence:.3f}"
    print(f"| {row.pool_factor} | {row.dim} | {row.vectors:,} | {quality} | {row.bytes_per_token:.1f} |", flush=True)


if __name__ == "__main__":
    main()
