"""The built-in model for queries: without torch, whose import takes longer than hundreds of searches."""

from __future__ import annotations

import hashlib
import json
import os
import string
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from colbert_rag.encoder.batching import plan_batches
from colbert_rag.encoder.builtin import CURRENT, backbone_folder, revision_of
from colbert_rag.encoder.low_rank import plus_low_rank
from colbert_rag.encoder.minilm.bert import Bert
from colbert_rag.encoder.minilm.parts import read_parts
from colbert_rag.encoder.minilm.weights import token_weights
from colbert_rag.encoder.query_tokens import labels_of
from colbert_rag.encoder.settings import checked_dim
from colbert_rag.encoder.tokenise import IdArray, Tokeniser, Tokens
from colbert_rag.kernels import token_similarities
from colbert_rag.types import Float32Array, JsonValue, TokenLabel

__all__ = ["QueryModel"]

_N_HEADS = 12
# their vectors stay in a core's own cache while the weights pass by
_BATCH_TOKENS = 256
_PROMPTS = {"document": "", "query": ""}


class QueryModel:
    """What an encoder asks of the built-in model for queries; the same as ``load_builtin`` gives, up to rounding.

    Any number of threads may use it at once.

    Args:
        dim: Leading dimensions that are kept; None for all of them.
        revision: Which projection and which weights it has.
        local_files_only: Whether the hub must not be asked.

    Raises:
        ModelNotFoundError: the backbone is neither installed nor to be had from the hub, or there is no such revision.
        ModelUnsupportedError: a file of the backbone is not the one that the projection was made for, or ``dim`` is
            more than there are.
    """

    def __init__(self, dim: int | None = None, *, revision: str = CURRENT, local_files_only: bool = False) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        folder = backbone_folder(local_files_only=local_files_only)
        self._revision = revision_of(revision)
        parts = read_parts(self._revision.path, self._revision.query_weights)
        self._projection = parts.projection
        self._direction = parts.direction
        self.dim = checked_dim(dim, len(self._projection))
        self._backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokeniser = Tokeniser(self._backend)
        backbone = load_file(folder / "model.safetensors")
        for name, (a, b) in parts.updates.items():
            backbone[name] = plus_low_rank(backbone[name], a, b, parts.scaling)
        self._bert = Bert(backbone, _N_HEADS)

    @property
    def context(self) -> int:
        """Tokens that the model takes at once."""
        return self._bert.context

    def tokenise(self, texts: Sequence[str], task: Literal["query"] = "query") -> list[Tokens]:
        """Tokenise queries at full length."""
        return self._tokeniser.tokenise(texts, _PROMPTS[task])

    def labels(self, text: str) -> list[TokenLabel]:
        """What each vector of a query stands for."""
        [tokens] = self.tokenise([text])
        return labels_of(text, tokens.spans, [str(self._backend.id_to_token(n)) for n in tokens.ids.tolist()])

    def encode_ids(self, queries: Sequence[IdArray]) -> list[Float32Array]:
        """Encode sequences of token ids, each at most ``context`` long: ``(Q, D) float32``.

        A row is as long as its token weighs, 1 in the mean of a query.
        """
        batches = list(_of_one_length(queries))
        encoded: dict[int, Float32Array] = {}
        # one query is done before a thread has begun
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = (map if len(batches) == 1 else pool.map)(self._encode, ([queries[n] for n in b] for b in batches))
            for batch, vectors in zip(batches, results, strict=True):
                # copies: a view would keep the whole batch in memory
                encoded.update((n, rows.copy()) for n, rows in zip(batch, vectors, strict=True))
        return [encoded[n] for n in range(len(queries))]

    def _encode(self, batch: Sequence[IdArray]) -> Float32Array:
        ids = np.stack(batch)
        hidden = self._bert(ids)
        vectors = np.ascontiguousarray(token_similarities(hidden.reshape(-1, hidden.shape[-1]), self._projection).T)
        vectors = vectors.reshape(*ids.shape, -1)
        kept = _unit(vectors[..., : self.dim])
        if self._direction is None:
            return kept
        # of all dimensions, however many are kept
        return kept * token_weights(_unit(vectors), self._direction)[..., None]

    def describe(self) -> dict[str, JsonValue]:
        """What ``fingerprint.describe`` says of the model of ``load_builtin``."""
        rules = [[sorted(string.punctuation), ["document"], None]]
        return {
            "weights_sha256": self._revision.weights_sha256,
            "skiplist_sha256": hashlib.sha256(json.dumps(rules).encode()).hexdigest(),
            "dim": self.dim,
            "prompts": dict(_PROMPTS),
            "query_length": None,
            "query_expansion": None,
        }


def _unit(vectors: Float32Array) -> Float32Array:
    unit: Float32Array = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def _of_one_length(queries: Sequence[IdArray]) -> Iterator[list[int]]:
    """Positions of queries that have equally many tokens, in batches."""
    by_length: dict[int, list[int]] = {}
    for position, ids in enumerate(queries):
        by_length.setdefault(len(ids), []).append(position)
    for length, positions in by_length.items():
        for batch in plan_batches([length] * len(positions), _BATCH_TOKENS):
            yield [positions[n] for n in batch]
