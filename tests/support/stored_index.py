"""What an index folder says, read by docs/index-format.md alone: none of the library's readers is used."""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colbert_rag.codec.grid import grid
from colbert_rag.kernels.rounding import level_numbers

__all__ = ["bm25_scores", "maxsim", "stored_vectors"]


def stored_vectors(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The token vectors of every document, by id, as the newest commit keeps them: ``(T, D) float32``."""
    connection = sqlite3.connect(f"{folder.as_uri()}/catalog.sqlite?mode=ro", uri=True)
    try:
        settings, codec = connection.execute("SELECT settings, codec FROM state").fetchone()
        segments = [name for (name,) in connection.execute("SELECT name FROM segments")]
        ids = dict(connection.execute("SELECT key, id FROM documents"))
    finally:
        connection.close()
    bits, name = json.loads(settings)["bits"], None if codec is None else json.loads(codec)["name"]
    found: dict[str, NDArray[np.float32]] = {}
    for segment in segments:
        keys, parts = _segment_vectors(folder / segment, None if name is None else folder / name, bits)
        here = {ids[key]: part for key, part in zip(keys, parts, strict=True) if key in ids}
        assert not found.keys() & here.keys(), "a document lies in two segments"
        found |= here
    assert found.keys() == set(ids.values()), "documents and vectors are not the same set"
    return found


@lru_cache(maxsize=256)
def _segment_vectors(segment: Path, codec: Path | None, bits: int) -> tuple[list[int], list[NDArray[np.float32]]]:
    """Keys and vectors of a segment, which never changes under its name."""
    offsets = np.load(segment / "doc_offsets.npy")
    vectors = np.load(segment / "vectors.npy").astype(np.float32) if codec is None else _decoded(segment, codec, bits)
    return np.load(segment / "doc_keys.npy").tolist(), np.split(vectors, offsets[1:-1])


def _decoded(segment: Path, codec: Path, bits: int) -> NDArray[np.float32]:
    """``(centroid + scale * level) * norm`` of every token, turned back out of the rotated space."""
    centroids, rotation = np.load(codec / "centroids.npy").astype(np.float64), np.load(codec / "rotation.npy")
    factors, constants = np.load(segment / "factors.npy"), grid(bits, len(rotation))
    levels = constants.levels[level_numbers(np.load(segment / "codes.npy"), bits, len(rotation), constants.labels)]
    scale, norm = constants.scales[factors[:, :1]], 0.70 + 0.72 * factors[:, 1:].astype(np.float64) / 255
    rotated = (centroids[np.load(segment / "centroid_ids.npy")] + scale * levels) * norm
    return (rotated @ rotation.T.astype(np.float64)).astype(np.float32)


def maxsim(query: NDArray[np.float32], vectors: NDArray[np.float32]) -> float:
    """MaxSim as it is defined: the sum over query tokens of the best dot product."""
    return float((query.astype(np.float64) @ vectors.T.astype(np.float64)).max(axis=1).sum())


def bm25_scores(query: str, texts: Mapping[str, str]) -> dict[str, float]:
    """BM25 as FTS5 documents it (k1 = 1.2, b = 0.75), of the texts that hold a word of the query; words are ASCII."""
    words = {document: Counter(text.lower().replace(".", " ").split()) for document, text in texts.items()}
    mean = sum(count.total() for count in words.values()) / max(1, len(words))
    scores: Counter[str] = Counter()
    for word in dict.fromkeys(query.lower().split()):
        holders = [document for document, count in words.items() if count[word]]
        rarity = math.log((len(words) - len(holders) + 0.5) / (len(holders) + 0.5))
        for document in holders:
            times = words[document][word]
            length = 1.2 * (0.25 + 0.75 * words[document].total() / mean)
            scores[document] += (rarity if rarity > 0 else 1e-6) * times * 2.2 / (times + length)
    return dict(scores)
