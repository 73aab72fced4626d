from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colbert_rag.codec import Codec, train_codec
from colbert_rag.search import SegmentView, Snapshot, Workers, column_shape, view_of
from colbert_rag.storage import Segment, SegmentWriter
from colbert_rag.storage.lists import build_lists

DIM = 32


@dataclass(frozen=True)
class Corpus:
    """Token vectors of some documents, packed; document n has the tokens ``offsets[n]:offsets[n + 1]``."""

    vectors: Any
    offsets: Any

    @property
    def n_documents(self) -> int:
        return len(self.offsets) - 1

    def part(self, start: int, end: int) -> Corpus:
        offsets = self.offsets[start : end + 1]
        return Corpus(self.vectors[offsets[0] : offsets[-1]], offsets - offsets[0])


def unit_rows(rng: np.random.Generator, n: int) -> Any:
    """Vectors around 40 directions, as token vectors lie."""
    directions = np.random.default_rng(1).standard_normal((40, DIM))
    rows = directions[rng.integers(0, 40, n)] + 0.5 * rng.standard_normal((n, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about durability, and disks are slow to promise it."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """300 documents of 1 to 40 tokens."""
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 41, 300))]).astype(np.int64)
    return Corpus(unit_rows(rng, int(offsets[-1])).astype(np.float16), offsets)


@pytest.fixture(scope="session")
def codec(corpus: Corpus) -> Codec:
    return train_codec(corpus.vectors, n_centroids=64, bits=4)


@pytest.fixture(scope="session")
def queries() -> list[Any]:
    return [unit_rows(np.random.default_rng(50 + n), n_query) for n, n_query in enumerate((1, 5, 31, 32, 33, 70))]


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers(3)
    yield workers
    workers.close()


SnapshotOf = Callable[..., Snapshot]


@pytest.fixture
def snapshot_of(tmp_path: Path) -> SnapshotOf:
    """``snapshot_of(corpus)``: one commit with these documents, key 1 onwards."""

    def view(part: Corpus, first_key: int, codec: Codec | None, lists: bool, deleted: Sequence[int]) -> SegmentView:
        writer = SegmentWriter(tmp_path, None if codec is None else "codec-1")
        spans = [np.zeros((n, 2), np.int32) for n in np.diff(part.offsets)]
        keys = list(range(first_key, first_key + part.n_documents))
        columns: dict[str, Any] = {"vectors": part.vectors}
        packed = None
        if codec is not None:
            tokens = codec.encode(part.vectors)
            columns = {"centroid_ids": tokens.centroid_ids, "codes": tokens.codes, "factors": tokens.factors}
            packed = build_lists(tokens.centroid_ids, part.offsets, codec.n_centroids) if lists else None
        writer.append(keys, spans, columns)
        k = 0 if codec is None else codec.n_centroids
        segment = Segment.open(tmp_path, writer.finish(packed), column_shape(DIM, codec), k)
        return view_of(segment, np.array(deleted, np.int64))

    def snapshot_of(
        corpus: Corpus,
        *,
        codec: Codec | None = None,
        n_segments: int = 1,
        lists: bool = False,
        deleted: Sequence[int] = (),
    ) -> Snapshot:
        cuts = [corpus.n_documents * n // n_segments for n in range(n_segments + 1)]
        views = [view(corpus.part(a, b), a + 1, codec, lists, deleted) for a, b in pairwise(cuts)]
        return Snapshot(1, codec, None, tuple(views))

    return snapshot_of


@pytest.fixture(scope="session")
def brute_force() -> Callable[..., Any]:
    """MaxSim of every document, one after another, ``(N,) float64``."""

    def brute_force(query: Any, vectors: Any, offsets: Any) -> Any:
        similarities = query.astype(np.float64) @ vectors.astype(np.float64).T
        return np.array([similarities[:, a:b].max(axis=1).sum() for a, b in pairwise(offsets)])

    return brute_force
