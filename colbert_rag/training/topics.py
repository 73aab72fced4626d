"""Which examples are about the same thing, so that a batch of them is hard to tell apart.

Batches by topic are those of TAS-B (arXiv 2104.06967, section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.encoder.loading import text_transformer
from colbert_rag.training.examples import Example
from colbert_rag.types import Float32Array

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

__all__ = ["topics_of"]

_ROUNDS = 10
_MOST_TOKENS = 64  # of an example; what comes after says little more about its topic


def topics_of(examples: Sequence[Example], model: MultiVectorEncoder, n_topics: int, seed: int) -> list[int]:
    """Number the topic of each example, by k-means over means of its query's and positive's word vectors.

    The word vectors are the table of the model's input, weighted by how rare a token is (inverse document frequency):
    nothing is encoded.

    Args:
        examples: All.
        model: Whose tokenizer and table are read.
        n_topics: How many there are, at most; 1 or fewer puts all in one.
        seed: Of the first centres.
    """
    if n_topics <= 1:
        return [0] * len(examples)
    return _nearest_centres(_means(examples, model), min(n_topics, len(examples)), seed)


def _means(examples: Sequence[Example], model: MultiVectorEncoder) -> Float32Array:
    """A unit vector for each example, ``(N, D)``."""
    texts = [f"{example.query} {example.documents[0]}" for example in examples]
    encoded = model.tokenizer(texts, add_special_tokens=False, truncation=True, max_length=_MOST_TOKENS)
    tokens = [np.unique(np.array(ids, np.int64)) for ids in encoded["input_ids"]]
    backbone: Any = text_transformer(model).auto_model
    table = backbone.get_input_embeddings().weight.detach().float().cpu().numpy()
    counts = np.bincount(np.concatenate(tokens), minlength=len(table))
    rarity = np.log(len(examples) / np.maximum(counts, 1)).astype(np.float32)
    return _unit(np.stack([rarity[ids] @ table[ids] for ids in tokens]))


def _nearest_centres(points: Float32Array, n_centres: int, seed: int) -> list[int]:
    centres = points[np.random.default_rng(seed).choice(len(points), n_centres, replace=False)]
    nearest: NDArray[np.intp] = (points @ centres.T).argmax(axis=1)
    for _ in range(_ROUNDS):
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, points)
        is_empty = ~np.isin(np.arange(n_centres), nearest)
        centres = np.where(is_empty[:, None], centres, _unit(sums))
        nearest = (points @ centres.T).argmax(axis=1)
    return [int(number) for number in nearest]


def _unit(vectors: Float32Array) -> Float32Array:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Float32Array = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit
