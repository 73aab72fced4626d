"""An engine in a process of its own: one JSON request a line on standard input, one reply a line on standard output.

    python engines.py ENGINE COLLECTION INDEX N_DOCUMENTS

Runs in the peers' environment too, so it imports nothing of this project outside of ``Ours``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np


class Data:
    """The collection's files, mapped; documents and queries go by number."""

    def __init__(self, folder: Path, n_documents: int) -> None:
        self._folder = folder
        self.n_documents = n_documents
        self.vectors, self.spans, self.offsets, self.queries, self._query_offsets = (
            np.load(folder / f"{name}.npy", mmap_mode="r")
            for name in ("vectors", "spans", "offsets", "queries", "query_offsets")
        )

    def texts(self) -> list[str]:
        return json.loads((self._folder / "texts.json").read_text(encoding="utf-8"))

    def bounds(self) -> Iterator[tuple[int, int]]:
        for n in range(self.n_documents):
            yield int(self.offsets[n]), int(self.offsets[n + 1])

    def query(self, n: int) -> np.ndarray:
        return np.array(self.queries[self._query_offsets[n] : self._query_offsets[n + 1]])


class Ours:
    def __init__(self, data: Data, index: Path) -> None:
        from colbert_rag import Index
        from colbert_rag.kernels import cpu

        # now, so that they count as a library and not as a search
        cpu.make_ready()
        self._data, self._path, self._class = data, index, Index

    def prepare(self) -> None:
        """The vectors are read from their file as the index takes them."""

    def build(self, *, is_for_texts: bool = False, **settings: Any) -> None:
        from colbert_rag import Document, Encoder, TokenVectors

        kind = {"encoder": Encoder()} if is_for_texts else {"dim": self._data.vectors.shape[1]}
        texts, data = self._data.texts(), self._data
        with self._class.create(self._path, **kind, **settings) as index:
            index.add_vectors(
                (Document(str(n), texts[n]), TokenVectors(data.vectors[a:b], data.spans[a:b]))
                for n, (a, b) in enumerate(data.bounds())
            )

    def open(self) -> None:
        self._index = self._class.open(self._path)

    def search(self, queries: Sequence[np.ndarray], k: int, **settings: Any) -> list[list[int]]:
        from colbert_rag import SearchConfig

        found = self._index.search_vectors(list(queries), k, config=SearchConfig(**settings))
        return [[int(hit.id) for hit in hits] for hits in found]

    def scorer(self, documents: np.ndarray) -> Callable[[np.ndarray], Sequence[float]]:
        from colbert_rag import Reranker, TokenVectors
        from colbert_rag.rerank import EncodedTexts

        encoder, spans = _GivenQuery(documents.shape[-1]), np.zeros((documents.shape[1], 2), np.int32)
        tokens = tuple(TokenVectors(vectors, spans) for vectors in documents)
        encoded, reranker = EncodedTexts(("a text",) * len(tokens), tokens), Reranker(encoder)

        def score(query: np.ndarray) -> list[float]:
            encoder.query = query
            ranked = reranker.rerank("a query", encoded, passages=0)
            return [text.score for text in sorted(ranked, key=lambda text: text.position)]

        return score


class _GivenQuery:
    """An encoder that takes no time: the query's vectors are given."""

    def __init__(self, dim: int) -> None:
        self.query = np.zeros((1, dim), np.float32)

    @property
    def dim(self) -> int:
        return self.query.shape[1]

    @property
    def fingerprint(self) -> dict[str, None]:
        return {"model": None}

    def encode_queries(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self.query] * len(texts)

    def encode_documents(self, texts: Sequence[str], *, progress: object = None) -> list[Any]:
        raise NotImplementedError


class FastPlaid:
    def __init__(self, data: Data, index: Path) -> None:
        from fast_plaid import search

        self._data, self._engine = data, search.FastPlaid(index=str(index), device="cpu")

    def prepare(self) -> None:
        self._documents = _tensors(self._data.vectors[a:b] for a, b in self._data.bounds())

    def build(self, **settings: Any) -> None:
        self._engine.create(documents_embeddings=self._documents, **settings)

    def open(self) -> None:
        """It is open once it is made."""

    def search(self, queries: Sequence[np.ndarray], k: int, **settings: Any) -> list[list[int]]:
        found = self._engine.search(_tensors(queries), top_k=k, show_progress=False, **settings)
        return [[int(n) for n, _ in hits] for hits in found]


class XtrWarp:
    def __init__(self, data: Data, index: Path) -> None:
        from xtr_warp.search import XTRWarp

        self._data, self._engine = data, XTRWarp(index=str(index), device="cpu")

    def prepare(self) -> None:
        self._documents = _tensors(self._data.vectors[a:b] for a, b in self._data.bounds())

    def build(self, **settings: Any) -> None:
        self._engine.create(self._documents, device="cpu", show_progress=False, **settings)

    def open(self) -> None:
        self._engine.load("cpu")

    def search(self, queries: Sequence[np.ndarray], k: int, **settings: Any) -> list[list[int]]:
        found = self._engine.search(_tensors(queries), top_k=k, show_progress=False, **settings)
        return [[int(n) for n, _ in hits] for hits in found]


class MaxSimCpu:
    def __init__(self, data: Data, index: Path) -> None:
        import maxsim_cpu

        self._library = maxsim_cpu

    def scorer(self, documents: np.ndarray) -> Callable[[np.ndarray], Sequence[float]]:
        stacked = np.ascontiguousarray(documents, np.float32)
        return lambda query: self._library.maxsim_scores(query, stacked).tolist()


def _tensors(arrays: Iterable[np.ndarray]) -> list[Any]:
    import torch

    return [torch.from_numpy(np.array(array, np.float32)) for array in arrays]


ENGINES: dict[str, Callable[[Data, Path], Any]] = {
    "ours": Ours,
    "fast-plaid": FastPlaid,
    "xtr-warp-rs": XtrWarp,
    "maxsim-cpu": MaxSimCpu,
}


class Server:
    """The requests; only what a user would wait for is timed."""

    def __init__(self, engine: Any, data: Data) -> None:
        self._engine, self._data = engine, data

    def build(self, settings: dict[str, Any]) -> dict[str, float]:
        """Make the index."""
        self._engine.prepare()
        before = anonymous_mib()
        begin = time.perf_counter()
        self._engine.build(**settings)
        return {"seconds": time.perf_counter() - begin, "mib_before": before}

    def open(self) -> dict[str, float]:
        """Open the index."""
        begin = time.perf_counter()
        self._engine.open()
        return {"seconds": time.perf_counter() - begin}

    def search(
        self, queries: list[int], k: int, batch: int, callers: int, settings: dict[str, Any]
    ) -> dict[str, list[Any]]:
        """Ask in batches; seconds of each, or of all where several callers ask at once."""
        vectors = [self._data.query(n) for n in queries]
        parts = [vectors[n : n + batch] for n in range(0, len(vectors), batch)]

        def timed(part: Sequence[np.ndarray]) -> tuple[list[list[int]], float]:
            begin = time.perf_counter()
            found = self._engine.search(part, k, **settings)
            return found, time.perf_counter() - begin

        if callers == 1:
            answers = [timed(part) for part in parts]
            seconds = [spent for _, spent in answers]
        else:
            with ThreadPoolExecutor(callers) as pool:
                begin = time.perf_counter()
                answers = list(pool.map(timed, parts))
                seconds = [time.perf_counter() - begin]
        return {"found": [hits for found, _ in answers for hits in found], "seconds": seconds}

    def score(self, queries: list[int], n_documents: int, n_tokens: int) -> dict[str, list[Any]]:
        """Exact MaxSim with documents in memory, cut from the collection's first vectors."""
        rows = np.asarray(self._data.vectors[: n_documents * n_tokens])
        score = self._engine.scorer(rows.reshape(n_documents, n_tokens, -1))
        vectors = [self._data.query(n) for n in queries]
        score(vectors[0])
        scores, seconds = [], []
        for query in vectors:
            begin = time.perf_counter()
            scores.append(list(score(query)))
            seconds.append(time.perf_counter() - begin)
        return {"scores": scores, "seconds": seconds}


def anonymous_mib() -> float:
    """Memory of this process that is no file, MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def main() -> None:
    name, folder, index, n_documents = sys.argv[1:]
    # what a library prints must not end up among the replies
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    data = Data(Path(folder), int(n_documents))
    server = Server(ENGINES[name](data, Path(index)), data)
    print(json.dumps({}), file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        reply = getattr(server, request.pop("do"))(**request)
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
