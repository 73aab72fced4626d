"""Exact MaxSim over packed token vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.kernels.layout import WIDTH
from colbert_rag.types import Float32Array

__all__ = ["blocked_query", "kernel_rows", "maxsim", "token_similarities"]


def blocked_query(query: Float32Array) -> Float32Array:
    """The query as ``cpu.dot_scores`` reads it: flat ``(ceil(Q / WIDTH), D, WIDTH)``, padded with zeros."""
    n_query, dim = query.shape
    n_blocks = max(1, -(-n_query // WIDTH))
    padded = np.zeros((n_blocks * WIDTH, dim), np.float32)
    padded[:n_query] = query
    return np.ascontiguousarray(padded.reshape(n_blocks, WIDTH, dim).transpose(0, 2, 1)).reshape(-1)


def maxsim(query: Float32Array, vectors: NDArray[np.floating[Any]], offsets: NDArray[np.int64]) -> Float32Array:
    """Exact MaxSim of one query with packed documents (ColBERT, arXiv 2004.12832, section 3.3).

    Args:
        query: ``(Q, D) float32``.
        vectors: ``(T, D) float16`` or ``float32``; may be a memory map.
        offsets: ``(N + 1,) int64``: document ``n`` has the rows ``offsets[n]:offsets[n + 1]``,
            at least one.

    Returns:
        ``(N,) float32``; bit for bit the same for equal documents, wherever they lie.
    """
    from colbert_rag.kernels import cpu

    scores = np.empty(len(offsets) - 1, np.float32)
    starts, ends = np.ascontiguousarray(offsets[:-1]), np.ascontiguousarray(offsets[1:])
    cpu.dot_scores(blocked_query(np.asarray(query, np.float32)), len(query), kernel_rows(vectors), starts, ends, scores)
    return scores


def token_similarities(query: Float32Array, vectors: NDArray[np.floating[Any]]) -> Float32Array:
    """Every token with every query token: ``(Q, D)`` and ``(T, D)`` give ``(T, Q) float32``."""
    from colbert_rag.kernels import cpu

    out = np.empty((len(vectors), len(query)), np.float32)
    cpu.dot_table(blocked_query(np.asarray(query, np.float32)), kernel_rows(vectors), out)
    return out


def kernel_rows(vectors: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """Vectors as ``cpu.dot_scores`` reads them: float32, or float16 seen as uint16; nothing is copied of these."""
    if vectors.dtype == np.float16:
        return np.ascontiguousarray(vectors).view(np.uint16)
    return np.ascontiguousarray(vectors, np.float32)
