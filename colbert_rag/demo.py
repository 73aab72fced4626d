"""The demonstration: a real corpus, real questions, and a comparison that is measured on the spot."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from colbert_rag.errors import CorpusFormatError
from colbert_rag.evaluation import evaluate, timed_run
from colbert_rag.readers import JudgedCorpus
from colbert_rag.types import Document, Float32Array, Hit, Progress, SearchConfig, TextEncoder, TokenVectors

if TYPE_CHECKING:
    from colbert_rag import Index

__all__ = [
    "QUESTIONS",
    "Answer",
    "Comparison",
    "Method",
    "SingleVectors",
    "ask",
    "compare",
    "encode_single_vectors",
    "find_data",
    "pick_questions",
]

QUESTIONS = ("q38", "q1892", "q3937", "q6211", "q8062")
"""Ids of the judged queries that the demonstration asks, in the data that it brings."""

METRIC = "nDCG@10"
K = 10
TIMED_QUERIES = 30
# texts between two reports of progress
CHUNK = 256

Query = TypeVar("Query")

_RANKING_ONLY = SearchConfig(passages=0)


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, the documents found, and the ids of those that are judged relevant."""

    question: str
    hits: list[Hit]
    relevant: frozenset[str]


@dataclass(frozen=True, slots=True)
class Method:
    """One line of the comparison.

    Attributes:
        name: What ranked the documents.
        ndcg: nDCG@10, mean over the judged queries.
        median_ms: Milliseconds per query, the encoding of the query not counted.
        vector_bytes: Bytes of all vectors; 0 where there are none.
        bytes_per_token: Bytes per token vector; None where there are no token vectors.
    """

    name: str
    ndcg: float
    median_ms: float
    vector_bytes: int = 0
    bytes_per_token: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All methods on the same queries, and how long the encoding of a query took."""

    methods: list[Method]
    n_queries: int
    query_encoding_ms: float


@dataclass(frozen=True, slots=True)
class SingleVectors:
    """One vector of unit length per text: ``(N, D) float32`` documents, ``(M, D) float32`` queries."""

    documents: Float32Array
    queries: Float32Array


def find_data() -> Path:
    """Return the folder ``examples/data`` of the checkout, or of the current folder.

    Raises:
        CorpusFormatError: there is none; the package as it is installed does not bring it.
    """
    for root in (Path(__file__).parent.parent, Path.cwd()):
        folder = root / "examples" / "data"
        if (folder / "corpus.jsonl.gz").is_file():
            return folder
    raise CorpusFormatError(
        "the data of the demonstration is not part of the installed package: get the folder examples/data of the "
        "source distribution (pip download --no-deps --no-binary :all: late-interaction-rag) or of the repository, "
        "and run: colbert-rag demo --data FOLDER"
    )


def pick_questions(data: JudgedCorpus) -> list[str]:
    """Return the ids of the questions to ask: the fixed ones, or in other data the first five."""
    fixed = [query_id for query_id in QUESTIONS if query_id in data.queries]
    return fixed or list(data.queries)[: len(QUESTIONS)]


def ask(index: Index, data: JudgedCorpus, query_ids: Sequence[str], k: int = 3) -> list[Answer]:
    """Search the index for judged queries."""
    answers = []
    for query_id in query_ids:
        relevant = frozenset(key for key, relevance in data.qrels[query_id].items() if relevance > 0)
        answers.append(Answer(data.queries[query_id], index.search(data.queries[query_id], k), relevant))
    return answers


def encode_single_vectors(data: JudgedCorpus, progress: Progress | None = None) -> SingleVectors:
    """Encode texts and queries with the built-in model's backbone as it was published: token vectors averaged."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling

    from colbert_rag.encoder.builtin import load_backbone

    backbone = load_backbone()
    model = SentenceTransformer(modules=[backbone, Pooling(backbone.get_embedding_dimension()), Normalize()])
    texts = [*(document.text for document in data.documents), *data.queries.values()]
    encoded = []
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        encoded.append(model.encode(chunk, convert_to_numpy=True, show_progress_bar=False))
        if progress:
            progress("encode single vectors", start + len(chunk), len(texts))
    documents, queries = np.split(np.concatenate(encoded), [len(data.documents)])
    return SingleVectors(documents, queries)


def compare(
    index: Index,
    encoder: TextEncoder,
    data: JudgedCorpus,
    vectors: Sequence[TokenVectors],
    single: SingleVectors,
    *,
    progress: Progress | None = None,
) -> Comparison:
    """Rank the documents for every judged query in four ways, two of them from the same token vectors.

    Args:
        index: Holds the documents of ``data``, with ``vectors``.
        encoder: The encoder that the vectors are from.
        data: Documents, queries and judgements.
        vectors: Token vectors of the documents, in their order.
        single: One vector per document and query, in their order.
        progress: Called after each query.
    """
    encoded, encoding_ms = _encode_queries(encoder, data.queries, progress)
    measure = functools.partial(_measure, data=data, progress=progress)
    methods = [
        measure(_bm25(index), data.queries),
        measure(_dense(single, data.documents), dict(zip(data.queries, single.queries, strict=True))),
        measure(_exact(vectors, data.documents), encoded),
        measure(_compressed(index), encoded),
    ]
    return Comparison(methods, len(data.queries), encoding_ms)


@dataclass(frozen=True, slots=True)
class _Searcher(Generic[Query]):
    name: str
    search: Callable[[Query], list[Hit]]
    vector_bytes: int = 0
    bytes_per_token: float | None = None


def _bm25(index: Index) -> _Searcher[str]:
    return _Searcher("BM25", lambda query: index.search(query, K, mode="bm25", config=_RANKING_ONLY))


def _dense(single: SingleVectors, documents: Sequence[Document]) -> _Searcher[Float32Array]:
    def search(query: Float32Array) -> list[Hit]:
        return _best(documents, single.documents @ query)

    return _Searcher("single vectors", search, single.documents.nbytes)


def _exact(vectors: Sequence[TokenVectors], documents: Sequence[Document]) -> _Searcher[Float32Array]:
    from colbert_rag.kernels import maxsim

    packed = np.concatenate([each.vectors for each in vectors])
    offsets = np.cumsum([0, *(len(each.vectors) for each in vectors)], dtype=np.int64)

    def search(query: Float32Array) -> list[Hit]:
        return _best(documents, maxsim(query, packed, offsets))

    return _Searcher("exact MaxSim", search, packed.nbytes, packed.nbytes / len(packed))


def _compressed(index: Index) -> _Searcher[Float32Array]:
    def search(query: Float32Array) -> list[Hit]:
        return index.search_vectors([query], K, config=_RANKING_ONLY)[0]

    info = index.info()
    return _Searcher("this index", search, info.vector_bytes, info.vector_bytes / info.n_tokens)


def _measure(
    searcher: _Searcher[Query], queries: Mapping[str, Query], data: JudgedCorpus, progress: Progress | None
) -> Method:
    # the first search may compile or load something that no later one pays for
    searcher.search(next(iter(queries.values())))
    run = timed_run(searcher.search, queries, searcher.name, progress)
    ndcg = evaluate(run.rankings, data.qrels, [METRIC])[METRIC]
    return Method(searcher.name, ndcg, run.median_ms, searcher.vector_bytes, searcher.bytes_per_token)


def _encode_queries(
    encoder: TextEncoder, queries: Mapping[str, str], progress: Progress | None
) -> tuple[dict[str, Float32Array], float]:
    """Encode all queries; the median milliseconds are those of the first ones, encoded one at a time."""
    texts, seconds = list(queries.values()), []
    for done, text in enumerate(texts[:TIMED_QUERIES], 1):
        start = time.perf_counter()
        encoder.encode_queries([text])
        seconds.append(time.perf_counter() - start)
        if progress:
            progress("encode queries", done, min(TIMED_QUERIES, len(texts)))
    return dict(zip(queries, encoder.encode_queries(texts), strict=True)), 1000 * statistics.median(seconds)


def _best(documents: Sequence[Document], scores: Float32Array) -> list[Hit]:
    order = np.argsort(-scores, kind="stable")[:K]
    return [Hit(documents[n].id, float(scores[n]), documents[n].text, {}) for n in order]
