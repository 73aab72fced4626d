"""An encoder without a model, for tests of applications that use an index."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from colbert_rag.types import Float32Array, JsonValue, Progress, TokenVectors

__all__ = ["HashEncoder"]

WORD = re.compile(r"\w+")


class HashEncoder:
    """A ``TextEncoder`` whose vectors are drawn from a hash of each lower-cased word.

    The same word has the same vector in every document, query, process and version; different words
    have nearly orthogonal vectors. A text without words has one vector with an empty span.

    Args:
        dim: Dimensions of a vector.
        seed: Another seed gives other vectors.

    Example:
        >>> encoder = HashEncoder()
        >>> [document] = encoder.encode_documents(["The cat sat."])
        >>> [query] = encoder.encode_queries(["cat"])
        >>> (document.vectors @ query.T).argmax().item()
        1
        >>> document.spans.tolist()
        [[0, 3], [4, 7], [8, 11]]
    """

    def __init__(self, dim: int = 32, seed: int = 0) -> None:
        self._dim = dim
        self._seed = seed

    @property
    def dim(self) -> int:
        """Dimensions of a token vector."""
        return self._dim

    @property
    def fingerprint(self) -> dict[str, JsonValue]:
        """Equal fingerprints give equal vectors; no model is named, so an index asks for the encoder again."""
        return {"model": None, "dim": self._dim, "hash_seed": self._seed}

    def encode_documents(self, texts: Sequence[str], *, progress: Progress | None = None) -> list[TokenVectors]:
        """Encode documents: ``float16`` vectors ``(T, D)`` and ``int32`` spans ``(T, 2)``, one row per word."""
        documents, done = [], 0
        all_spans = [[match.span() for match in WORD.finditer(text)] or [(0, 0)] for text in texts]
        total = sum(map(len, all_spans))
        for text, spans in zip(texts, all_spans, strict=True):
            documents.append(TokenVectors(self._vectors(text).astype(np.float16), np.asarray(spans, np.int32)))
            if progress is not None:
                done += len(spans)
                progress("encode", done, total)
        return documents

    def encode_queries(self, texts: Sequence[str]) -> list[Float32Array]:
        """Encode queries: ``(Q, D) float32``, one row per word."""
        return [self._vectors(text) for text in texts]

    def _vectors(self, text: str) -> Float32Array:
        return np.stack([self._vector(word.lower()) for word in WORD.findall(text) or [""]])

    def _vector(self, word: str) -> Float32Array:
        digest = hashlib.sha256(f"{self._seed}:{word}".encode()).digest()
        vector = np.random.default_rng(int.from_bytes(digest, "little")).standard_normal(self._dim)
        return (vector / np.linalg.norm(vector)).astype(np.float32)
