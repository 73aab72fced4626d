"""Exact MaxSim over texts in memory, without an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from colbert_rag.errors import InvalidDocumentError, InvalidVectorsError
from colbert_rag.kernels import token_similarities
from colbert_rag.models import encoder_for
from colbert_rag.search import Ranker, Snapshot, Workers, best_passages, snapshot_in_memory
from colbert_rag.search.device import check_device, ranker_for
from colbert_rag.types import Document, Float32Array, Passage, SearchConfig, TextEncoder, TokenVectors
from colbert_rag.validation import (
    check_count,
    check_k,
    check_queries,
    check_queries_encoded,
    check_search_config,
    check_texts,
    check_token_vectors,
)
from colbert_rag.writing import encode_documents

__all__ = ["EncodedTexts", "RankedText", "Reranker"]

_REFUSED = "Nothing was ranked."


@dataclass(frozen=True, slots=True)
class RankedText:
    """One reranked text.

    Attributes:
        position: Where the text stood in the input.
        score: MaxSim.
        text: The text.
        passages: Evidence, best first.
        relevance: ``score`` divided by the number of query vectors, clipped to 0..1.
    """

    position: int
    score: float
    text: str
    passages: tuple[Passage, ...]
    relevance: float


@dataclass(frozen=True)
class EncodedTexts:
    """Texts with their token vectors, to be reranked for many queries.

    Attributes:
        texts: The texts.
        tokens: Of each text; their vectors lie one after the other in one array.
    """

    texts: tuple[str, ...]
    tokens: tuple[TokenVectors, ...]
    # what searches and devices know them by, as long as the texts are held
    _snapshot: Snapshot = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_count(self.tokens, self.texts, _REFUSED)
        if not self.tokens:
            return
        packed = np.concatenate([tokens.vectors for tokens in self.tokens])
        if packed.dtype != np.float16:
            packed = np.asarray(packed, np.float32)
        offsets = np.cumsum([0, *(len(tokens.vectors) for tokens in self.tokens)], dtype=np.int64)
        views = (
            TokenVectors(packed[begin:end], tokens.spans)
            for tokens, (begin, end) in zip(self.tokens, pairwise(offsets), strict=True)
        )
        object.__setattr__(self, "tokens", tuple(views))
        object.__setattr__(self, "_snapshot", snapshot_in_memory(packed, offsets))

    def __reduce__(self) -> tuple[Any, ...]:
        # the vectors once, and in one array again
        return EncodedTexts, (self.texts, self.tokens)

    def ranked(self, query: Float32Array, k: int, ranker: Ranker) -> list[tuple[int, float]]:
        """Positions and MaxSim of the best ``k`` texts, best first; equal scores keep the order. There must be a text.

        Args:
            query: ``(Q, D) float32``.
            k: At least 1.
            ranker: What compares them.

        Raises:
            InvalidVectorsError: the texts were encoded with another number of dimensions.
            DeviceError: a device that was named fails.
        """
        dim = self.tokens[0].vectors.shape[1]
        if query.shape[1] != dim:
            msg = (
                f"the texts were encoded with {dim} dimensions, the query with {query.shape[1]}. "
                f"Encode both with one model."
            )
            raise InvalidVectorsError(msg)
        # threads that outlived the call would be missing after a fork
        workers = Workers()
        try:
            [found] = ranker.rank(self._snapshot, [query], k, SearchConfig(), workers)
        finally:
            workers.close()
        order = np.lexsort((found.keys, -found.scores))[:k]
        return list(zip(found.keys[order].tolist(), found.scores[order].tolist(), strict=True))


class Reranker:
    """Orders texts by exact MaxSim with a query.

    Args:
        encoder: An encoder, a model's name or path, or None for the built-in model.
        device: Where vectors are compared: "cpu"; "cuda", "cuda:1", or several GPUs such as "cuda:0,cuda:1"; "auto" for
            a GPU where one can be used and the texts are long enough for it. The encoder has a device of its own.

    Raises:
        InvalidQueryError: none of these words.
        DeviceError: a device is named that is not there.
        MissingDependencyError: it is there, and Triton is not.
    """

    def __init__(self, encoder: TextEncoder | str | None = None, *, device: str = "auto") -> None:
        self._ranker = ranker_for(check_device(device))
        self.encoder = encoder_for(encoder)

    def __reduce__(self) -> tuple[Any, ...]:
        # nothing that lies on a device
        return partial(Reranker, device=self._ranker.wanted), (self.encoder,)

    @property
    def device(self) -> str:
        """Where vectors are compared: "cpu", "cuda:0", or several with commas between them."""
        return self._ranker.device

    def encode(self, texts: Sequence[str | Document]) -> EncodedTexts:
        """Encode texts once, for many queries.

        Args:
            texts: Texts, or documents, whose heading is encoded ahead of the text; nothing else of them is used.

        Raises:
            InvalidDocumentError: a text is not a str or is blank.
        """
        if isinstance(texts, str):
            msg = "texts must be a list of str; wrap one text in a list."
            raise InvalidDocumentError(msg)
        documents = [
            Document(str(n), text.text, heading=text.heading) if isinstance(text, Document) else Document(str(n), text)
            for n, text in enumerate(texts)
        ]
        check_texts(documents)
        tokens = encode_documents(self.encoder, documents) if documents else []
        check_count(tokens, documents, _REFUSED)
        for document, vectors in zip(documents, tokens, strict=True):
            check_token_vectors(document, vectors, self.encoder.dim, _REFUSED)
        return EncodedTexts(tuple(document.text for document in documents), tuple(tokens))

    def rerank(
        self,
        query: str,
        texts: Sequence[str | Document] | EncodedTexts,
        k: int | None = None,
        *,
        passages: int = 1,
        passage_sentences: int = 1,
    ) -> list[RankedText]:
        """Order texts by how well they answer a query.

        Args:
            query: Not blank.
            texts: Texts or documents, or what :meth:`encode` made of them.
            k: How many to return; None for all.
            passages: Evidence passages per text.
            passage_sentences: Sentences in a row that make a passage.

        Returns:
            Best first; equal scores keep the order of the input.

        Raises:
            InvalidQueryError: the query, k, passages or passage_sentences is refused.
            InvalidDocumentError: a text is not a str or is blank.
            DeviceError: a device that was named fails.
        """
        check_queries([query])
        check_search_config(SearchConfig(passages=passages, passage_sentences=passage_sentences))
        n = None if k is None else check_k(k)
        encoded = texts if isinstance(texts, EncodedTexts) else self.encode(texts)
        if not encoded.texts:
            return []
        (vectors,) = check_queries_encoded(self.encoder.encode_queries([query]), [query], self.encoder.dim)
        found = encoded.ranked(vectors, min(n or len(encoded.texts), len(encoded.texts)), self._ranker)
        wanted = passages, passage_sentences
        return [self._ranked(position, score, encoded, vectors, wanted) for position, score in found]

    @staticmethod
    def _ranked(
        position: int,
        score: float,
        encoded: EncodedTexts,
        query: Float32Array,
        wanted: tuple[int, int],
    ) -> RankedText:
        text, tokens = encoded.texts[position], encoded.tokens[position]
        evidence: tuple[Passage, ...] = ()
        if wanted[0]:
            evidence = best_passages(text, tokens.spans, token_similarities(query, tokens.vectors), *wanted)
        return RankedText(position, score, text, evidence, min(1.0, max(0.0, score / len(query))))
