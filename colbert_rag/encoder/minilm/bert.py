"""The forward pass of a small BERT in NumPy, for the few tokens of a query."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.encoder.tokenise import IdArray
from colbert_rag.kernels import gelu, token_similarities
from colbert_rag.types import Float32Array

__all__ = ["Bert"]

_EPSILON = np.float32(1e-12)


class Bert:
    """A BERT encoder (arXiv 1810.04805) over sequences of one length, which need no padding and no mask.

    A call changes nothing, so any number of threads may make it, and a sequence gets the same bits alone and in any
    batch.

    Args:
        weights: ``float32`` by the names of transformers' ``BertModel``; a pooler is not used.
        n_heads: Of attention.
    """

    def __init__(self, weights: Mapping[str, NDArray[Any]], n_heads: int) -> None:
        self._words = weights["embeddings.word_embeddings.weight"]
        # every token is of the first of the two texts that a BERT can read
        self._places = (
            weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = _LayerNorm(weights, "embeddings.LayerNorm")
        self._layers = [_Layer(weights, f"encoder.layer.{n}", n_heads) for n in range(_n_layers(weights))]

    @property
    def context(self) -> int:
        """Tokens that it takes at once."""
        return len(self._places)

    def __call__(self, ids: IdArray) -> Float32Array:
        """``(B, T) int64``, T at most ``context``, to ``(B, T, D) float32``."""
        hidden = self._norm(self._words[ids] + self._places[: ids.shape[1]])
        for layer in self._layers:
            hidden = layer(hidden)
        return hidden


class _Layer:
    """Attention and the feed-forward network, each added to what it was given."""

    def __init__(self, weights: Mapping[str, NDArray[Any]], name: str, n_heads: int) -> None:
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        # one product for the three
        self._mixed = _Linear(*(np.concatenate([weights[f"{p}.{kind}"] for p in parts]) for kind in _LINEAR))
        self._attended = _Linear.named(weights, f"{name}.attention.output.dense")
        self._attention_norm = _LayerNorm(weights, f"{name}.attention.output.LayerNorm")
        self._wide = _Linear.named(weights, f"{name}.intermediate.dense")
        self._narrow = _Linear.named(weights, f"{name}.output.dense")
        self._norm = _LayerNorm(weights, f"{name}.output.LayerNorm")
        self._n_heads = n_heads

    def __call__(self, hidden: Float32Array) -> Float32Array:
        attended = self._attention_norm(self._attended(self._attend(hidden)) + hidden)
        wide = self._wide(attended)
        gelu(wide)
        return self._norm(self._narrow(wide) + attended)

    def _attend(self, hidden: Float32Array) -> Float32Array:
        n_texts, n_tokens, dim = hidden.shape
        shape = n_texts, n_tokens, 3, self._n_heads, dim // self._n_heads
        # of one head: too small for a BLAS to start threads, but in the longest queries
        query, key, value = self._mixed(hidden).reshape(shape).transpose(2, 0, 3, 1, 4)
        scores = query @ key.swapaxes(-1, -2)
        scores /= np.float32(math.sqrt(shape[-1]))
        np.exp(scores - scores.max(axis=-1, keepdims=True), out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed: Float32Array = (scores @ value).swapaxes(1, 2).reshape(hidden.shape)
        return mixed


_LINEAR = ("weight", "bias")


class _Linear:
    def __init__(self, weight: NDArray[Any], bias: NDArray[Any]) -> None:
        self._weight, self._bias = weight, bias[:, None]

    @classmethod
    def named(cls, weights: Mapping[str, NDArray[Any]], name: str) -> _Linear:
        return cls(*(weights[f"{name}.{kind}"] for kind in _LINEAR))

    def __call__(self, hidden: Float32Array) -> Float32Array:
        # not by a BLAS, whose threads wait for each other whenever another program has the cores
        table = token_similarities(hidden.reshape(-1, hidden.shape[-1]), self._weight)
        table += self._bias
        return np.ascontiguousarray(table.T).reshape(*hidden.shape[:-1], -1)


class _LayerNorm:
    def __init__(self, weights: Mapping[str, NDArray[Any]], name: str) -> None:
        self._weight, self._bias = weights[f"{name}.weight"], weights[f"{name}.bias"]

    def __call__(self, hidden: Float32Array) -> Float32Array:
        centred = hidden - hidden.mean(axis=-1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + _EPSILON)
        normal: Float32Array = centred / spread * self._weight + self._bias
        return normal


def _n_layers(weights: Mapping[str, NDArray[Any]]) -> int:
    return len({name.split(".")[2] for name in weights if name.startswith("encoder.layer.")})
