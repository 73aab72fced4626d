"""A collection as every engine gets it: token vectors, texts and queries in one folder of plain files.

vectors.npy ``(T, D) float16``, spans.npy ``(T, 2) int32``, offsets.npy ``(N + 1,) int64``, queries.npy
``(sum Q, D) float32``, query_offsets.npy, texts.json, questions.json, about.json; scores.npy ``(queries, N) float32``
once asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from colbert_rag.evaluation import evaluate
from colbert_rag.readers import JudgedCorpus, read_judged_corpus
from colbert_rag.types import Float32Array, TextEncoder, TokenVectors

__all__ = ["FOUND", "LOSS", "NDCG", "Collection", "K", "grow", "prepare", "store"]

K = 10
NDCG, LOSS, FOUND = "nDCG@10", "nDCG@10 below exact", "exact's top 10 found"
# a repeated document differs this much from the original: length of the noise beside vectors of unit length
NOISE = 0.3
_BLOCK_TOKENS, _BLOCK_QUERIES = 4_096, 64


@dataclass(frozen=True)
class Collection:
    """The first documents and queries of a folder.

    Attributes:
        name: What results call it.
        folder: Where the files are.
        n_documents: How many of the documents belong to it.
        n_queries: How many of the queries.
        qrels: Query number -> document number -> relevance; empty where nothing is judged.
    """

    name: str
    folder: Path
    n_documents: int
    n_queries: int
    qrels: Mapping[str, Mapping[str, int]]

    @classmethod
    def open(cls, folder: Path) -> Collection:
        """All of a folder that was stored before."""
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        sizes = (len(np.load(folder / f"{name}.npy")) - 1 for name in ("offsets", "query_offsets"))
        return cls(about["name"], folder, *sizes, about["qrels"])

    def first(self, n_tokens: int) -> Collection:
        """Its first documents, at most so many tokens, with nothing judged."""
        n_documents = int(np.searchsorted(self.load("offsets"), n_tokens, side="right")) - 1
        return replace(self, n_documents=n_documents, qrels={})

    def load(self, name: str) -> NDArray[np.generic]:
        """An array of the folder, mapped."""
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")

    @property
    def n_tokens(self) -> int:
        """How many token vectors its documents have."""
        return int(self.load("offsets")[self.n_documents])

    def exact(self) -> list[list[int]]:
        """The best ten documents of each query by exact MaxSim, equal scores in the order of the documents."""
        scores = self._scores()[: self.n_queries, : self.n_documents]
        return [np.argsort(-row, kind="stable")[:K].tolist() for row in scores]

    def _scores(self) -> Float32Array:
        path = self.folder / "scores.npy"
        if not path.exists():
            with _whole(path) as unfinished, unfinished.open("wb") as file:
                arrays = (np.asarray(self.load(name)) for name in ("queries", "query_offsets", "offsets"))
                np.save(file, _maxsim(self.load("vectors"), *arrays))
        return np.load(path, mmap_mode="r")

    def quality(self, found: Mapping[int, Sequence[int]]) -> dict[str, float]:
        """How good the rankings of some of its queries are, beside exact MaxSim on the same queries.

        Args:
            found: Query number -> document numbers, best first.
        """
        exact = self.exact()
        share = statistics.mean(len({*found[n][:K]} & {*exact[n]}) / len(exact[n]) for n in found)
        if not self.qrels:
            return {FOUND: share}
        ours, best = self._ndcg(found), self._ndcg({n: exact[n] for n in found})
        return {NDCG: ours, LOSS: best - ours, FOUND: share}

    def _ndcg(self, found: Mapping[int, Sequence[int]]) -> float:
        run = {str(n): [(str(i), float(-rank)) for rank, i in enumerate(ranked)] for n, ranked in found.items()}
        return evaluate(run, {query: self.qrels[query] for query in run}, [NDCG])[NDCG]


def prepare(source: Path, cache: Path, encoder: TextEncoder, n_documents: int | None, n_queries: int) -> Collection:
    """Encode a collection in BEIR's layout, or find it encoded by the same model.

    Args:
        source: Its folder.
        cache: Where encoded collections are kept.
        encoder: The model.
        n_documents: Keep only so many, those that answer a question first, and the queries whose answers are all
            there; None for all.
        n_queries: Ask only the first so many.
    """
    data = _cut(read_judged_corpus(source), n_documents)
    name = source.name if n_documents is None else f"{source.name}, {len(data.documents):,} documents"
    text = json.dumps(
        [dict(encoder.fingerprint), name, [document.text for document in data.documents], data.queries, data.qrels],
        sort_keys=True,
    )
    folder = cache / f"{source.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    if not folder.exists():
        tokens = encoder.encode_documents([document.text for document in data.documents])
        store(folder, name, data, tokens, encoder.encode_queries(list(data.queries.values())))
    whole = Collection.open(folder)
    return replace(whole, n_queries=min(n_queries, whole.n_queries))


def _cut(data: JudgedCorpus, n_documents: int | None) -> JudgedCorpus:
    if n_documents is None:
        return data
    answers = {document_id for judged in data.qrels.values() for document_id in judged}
    documents = sorted(data.documents, key=lambda document: document.id not in answers)[:n_documents]
    kept = {document.id for document in documents}
    queries = {key: text for key, text in data.queries.items() if kept.issuperset(data.qrels[key])}
    return JudgedCorpus(documents, queries, {key: data.qrels[key] for key in queries})


def store(
    folder: Path, name: str, data: JudgedCorpus, tokens: Sequence[TokenVectors], queries: Sequence[Float32Array]
) -> None:
    """Write an encoded collection, whole or not at all; numbers take the place of ids."""
    numbers = {document.id: str(n) for n, document in enumerate(data.documents)}
    qrels = {str(n): {numbers[i]: grade for i, grade in data.qrels[key].items()} for n, key in enumerate(data.queries)}
    with _whole(folder) as unfinished:
        unfinished.mkdir(parents=True)
        np.save(unfinished / "vectors.npy", np.concatenate([t.vectors for t in tokens]).astype(np.float16))
        np.save(unfinished / "spans.npy", np.concatenate([t.spans for t in tokens]))
        np.save(unfinished / "offsets.npy", np.cumsum([0, *(len(t.vectors) for t in tokens)]))
        np.save(unfinished / "queries.npy", np.concatenate(queries))
        np.save(unfinished / "query_offsets.npy", np.cumsum([0, *map(len, queries)]))
        _write_json(unfinished / "texts.json", [document.text for document in data.documents])
        _write_json(unfinished / "questions.json", list(data.queries.values()))
        _write_json(unfinished / "about.json", {"name": name, "qrels": qrels})


def grow(parts: Sequence[Collection], n_tokens: int, n_queries: int, cache: Path) -> Collection:
    """All documents of some collections in a row; where that is too little, again and again with noise.

    The queries are the first of the first collection. The name says how many vectors are repeated.
    """
    real = sum(part.n_tokens for part in parts)
    named = f"{' + '.join(part.folder.name for part in parts)}, {n_tokens}, {n_queries}, {NOISE}"
    folder = cache / f"grown-{hashlib.sha256(named.encode()).hexdigest()[:12]}"
    if not folder.exists():
        name = f"{' + '.join(part.name for part in parts)}: {min(real, n_tokens):,} token vectors"
        if n_tokens > real:
            name += f" and {n_tokens - real:,} of them again with noise of length {NOISE}"
        with _whole(folder) as unfinished:
            unfinished.mkdir(parents=True)
            _write_grown(unfinished, parts, n_tokens)
            ends = np.asarray(parts[0].load("query_offsets"))[: n_queries + 1]
            np.save(unfinished / "query_offsets.npy", ends)
            np.save(unfinished / "queries.npy", parts[0].load("queries")[: ends[-1]])
            _write_json(unfinished / "about.json", {"name": name, "qrels": {}})
    return Collection.open(folder)


def _write_grown(folder: Path, parts: Sequence[Collection], n_tokens: int) -> None:
    dim = parts[0].load("vectors").shape[1]
    vectors = open_memmap(folder / "vectors.npy", "w+", np.float16, (n_tokens, dim))
    spans = open_memmap(folder / "spans.npy", "w+", np.int32, (n_tokens, 2))
    texts: list[str] = []
    offsets = [0]
    for text, some_vectors, some_spans in _repeated(parts):
        # the last document is cut, so that the number of tokens is the one that was asked for
        end = min(n_tokens, offsets[-1] + len(some_spans))
        vectors[offsets[-1] : end] = some_vectors[: end - offsets[-1]]
        spans[offsets[-1] : end] = some_spans[: end - offsets[-1]]
        texts.append(text)
        offsets.append(end)
        if end == n_tokens:
            break
    np.save(folder / "offsets.npy", np.array(offsets))
    _write_json(folder / "texts.json", texts)


def _repeated(parts: Sequence[Collection]) -> Iterator[tuple[str, NDArray[np.float16], NDArray[np.int32]]]:
    rng, is_first = np.random.default_rng(0), True
    while True:
        for part in parts:
            texts = json.loads((part.folder / "texts.json").read_text(encoding="utf-8"))
            vectors, spans, offsets = part.load("vectors"), part.load("spans"), part.load("offsets")
            for text, begin, end in zip(texts, offsets, offsets[1:], strict=False):
                rows = vectors[begin:end]
                yield text, rows if is_first else _with_noise(rows, rng), spans[begin:end]
        is_first = False


def _with_noise(vectors: NDArray[np.float16], rng: np.random.Generator) -> NDArray[np.float16]:
    noise = rng.standard_normal(vectors.shape, np.float32) * (NOISE / np.sqrt(vectors.shape[1]))
    noisy = vectors.astype(np.float32) + noise
    return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float16)


def _maxsim(
    vectors: NDArray[np.float16],
    queries: Float32Array,
    query_offsets: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> Float32Array:
    """Exact MaxSim of every query with every document in plain NumPy, independent of the library's kernels."""
    scores = np.empty((len(query_offsets) - 1, len(offsets) - 1), np.float32)
    first = 0
    while first < len(offsets) - 1:
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + _BLOCK_TOKENS, side="right")) - 1)
        rows = vectors[offsets[first] : offsets[last]].astype(np.float32)
        starts = offsets[first:last] - offsets[first]
        for begin in range(0, len(scores), _BLOCK_QUERIES):
            ends = query_offsets[begin : begin + _BLOCK_QUERIES + 1]
            best = np.maximum.reduceat(rows @ queries[ends[0] : ends[-1]].T, starts, axis=0)
            scores[begin : begin + _BLOCK_QUERIES, first:last] = np.add.reduceat(best, ends[:-1] - ends[0], axis=1).T
        first = last
    return scores


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A name to write to, which becomes ``path`` only when all is written."""
    unfinished = path.with_name(f"{path.name}.unfinished-{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield unfinished
        unfinished.rename(path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        unfinished.unlink(missing_ok=True)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
