"""Token pooling: fewer vectors for a document, each the mean of tokens that resemble one another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.types import Float32Array, TokenVectors

__all__ = ["pool_tokens"]

# clustering costs the square of a block: 512 tokens take 1 MB and some milliseconds, however long the document is
_BLOCK_TOKENS = 512
# tokens that stand 20 apart are as far from each other as tokens with a cosine of 0.5: chosen in docs/benchmarks.md
_PLACE_WEIGHT = 0.05
# shorter means have no direction of their own: their tokens cancel each other out
_LEAST_NORM = 1e-3


def pool_tokens(tokens: TokenVectors, factor: int) -> TokenVectors:
    """Merge the token vectors of a document into about one of ``factor``.

    Paper: Clavié, Chaffin and Adams 2024 (arXiv 2409.14683): hierarchical clustering with Ward's criterion; a cluster
    is kept as the mean of its vectors, made unit length again. Ours differs where a vector must point at one place in
    the text:

    - A cluster keeps the span of its medoid, the token that is most like the mean.
    - How far apart two tokens stand counts as one more dimension. Clustering by meaning alone ranked better on one of
      two collections, but its vectors stand for words all over a document, and the passages come out wrong; clusters of
      neighbours alone ranked worst on both (docs/benchmarks.md).
    - Tokens without text of their own, such as [CLS] and the tokens of a heading, are merged with one another only:
      evidence never points at text for what stands elsewhere.
    - Clusters lie within blocks of at most 512 consecutive tokens, which bounds memory and makes time linear in the
      length of the document.

    Args:
        tokens: Of one document, ``(T, D)`` unit vectors with spans, T >= 1.
        factor: 1 or more; 1 gives back what was given.

    Returns:
        At least one vector and at most ``ceil(T / factor) + 1``, in the type that was given and in the order of the
        medoids; the same for the same tokens.
    """
    if factor == 1:
        return tokens
    vectors = np.asarray(tokens.vectors, np.float32)
    spans = np.asarray(tokens.spans)
    has_text = spans[:, 1] > spans[:, 0]
    groups = [np.flatnonzero(has_text), np.flatnonzero(~has_text)]
    parts = [(rows, *_merged(vectors[rows], factor)) for group in groups for rows in _blocks(group, factor)]
    medoids = np.concatenate([rows[medoid] for rows, _, medoid in parts])
    means = np.concatenate([mean for _, mean, _ in parts])
    order = medoids.argsort()
    return TokenVectors(means[order].astype(tokens.vectors.dtype), spans[medoids[order]])


def _blocks(rows: NDArray[np.intp], factor: int) -> Iterator[NDArray[np.intp]]:
    """Cut rows into blocks of nearly equal size, all but the last of them multiples of ``factor``."""
    n_blocks = -(-len(rows) // _BLOCK_TOKENS)
    units = -(-len(rows) // factor)
    for n in range(n_blocks):
        yield rows[units * n // n_blocks * factor : units * (n + 1) // n_blocks * factor]


def _merged(vectors: Float32Array, factor: int) -> tuple[Float32Array, NDArray[np.intp]]:
    """The means of ``ceil(T / factor)`` clusters, unit rows, and the row of each cluster's medoid."""
    labels = _clusters(vectors, -(-len(vectors) // factor))
    by_label = labels.argsort(kind="stable")
    firsts = np.flatnonzero(np.diff(labels[by_label], prepend=-1))
    sums = np.add.reduceat(vectors[by_label], firsts, axis=0)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    likeness = (vectors * sums[labels]).sum(axis=1)
    medoids = np.lexsort((-likeness, labels))[firsts]
    means = np.where(norms < _LEAST_NORM, vectors[medoids], sums / np.maximum(norms, _LEAST_NORM))
    return means.astype(np.float32), medoids


def _clusters(vectors: Float32Array, n_clusters: int) -> NDArray[np.intp]:
    """The cluster of each of T unit vectors, numbers from 0 to ``n_clusters`` - 1."""
    if n_clusters == len(vectors):
        return np.arange(n_clusters)
    from scipy.cluster.hierarchy import linkage

    # of unit vectors, the Euclidean distances that Ward's criterion is defined on rank as cosines do
    places = np.arange(len(vectors)) * _PLACE_WEIGHT
    return _cut(linkage(np.column_stack([vectors, places]), "ward"), len(vectors), n_clusters)


def _cut(merges: NDArray[Any], n_tokens: int, n_clusters: int) -> NDArray[np.intp]:
    """Clusters after the first merges of a tree; scipy's own cut gives fewer where distances are equal."""
    done = merges[: n_tokens - n_clusters, :2].astype(np.intp)
    owners = np.arange(n_tokens + len(done))
    for node, pair in enumerate(done, n_tokens):
        owners[pair] = node
    for node in range(len(owners) - 1, -1, -1):
        owners[node] = owners[owners[node]]
    labels: NDArray[np.intp] = np.unique(owners[:n_tokens], return_inverse=True)[1]
    return labels
