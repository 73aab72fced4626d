"""Text to token ids and character spans, untouched by any other user of the tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from colbert_rag.errors import ModelUnsupportedError

if TYPE_CHECKING:
    from sentence_transformers.base.modules import Transformer
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase

__all__ = ["IdArray", "Tokeniser", "Tokens", "check_ids", "check_vocabulary", "table_size"]

IdArray: TypeAlias = NDArray[np.int64]

# what transformers makes up without a tokenizer's files has special tokens and a sign or two
LEAST_VOCABULARY = 10


@dataclass(frozen=True, slots=True)
class Tokens:
    """One tokenised text: special tokens and prompt, the text's own tokens, special tokens.

    Attributes:
        ids: ``(T,) int64``.
        spans: ``(T, 2) int32``, character start and end in the text, the prompt subtracted.
        n_prefix: Tokens before the text: special tokens and the prompt.
        n_suffix: Special tokens after the text.
    """

    ids: IdArray
    spans: NDArray[np.int32]
    n_prefix: int
    n_suffix: int


class Tokeniser:
    """A fast tokenizer that neither truncates nor pads.

    Truncation and padding are state of its backend, and sentence-transformers sets them on the
    shared one for each call: from two threads, documents come back cut to the query length.

    Args:
        backend: It is this object's own from here on.
    """

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        self._backend.no_truncation()
        self._backend.no_padding()
        is_special = np.asarray(self._backend.encode("a").special_tokens_mask, bool)
        self._n_last = 0 if is_special.all() else _count_leading(is_special[::-1])

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Tokeniser:
        """With a copy of the backend of a tokenizer of transformers.

        Raises:
            ModelUnsupportedError: a slow tokenizer, which knows no character offsets, or one without a vocabulary.
        """
        from tokenizers import Tokenizer

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise ModelUnsupportedError(
                f"The model's tokenizer is a {type(tokenizer).__name__}, which gives no character offsets; a fast "
                f"tokenizer is needed. Save the model with a tokenizer.json (transformers.PreTrainedTokenizerFast)."
            )
        check_vocabulary(tokenizer)
        return cls(Tokenizer.from_str(backend.to_str()))

    def tokenise(self, texts: Sequence[str], prompt: str) -> list[Tokens]:
        """Tokenise ``prompt + text`` for each text, at full length."""
        encodings = self._backend.encode_batch([prompt + text for text in texts])
        return [
            _tokens(encoding, len(prompt), len(text), self._n_last)
            for encoding, text in zip(encodings, texts, strict=True)
        ]


def check_vocabulary(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that transformers made up because the checkpoint brings none.

    Raises:
        ModelUnsupportedError: it knows hardly more than its special tokens.
    """
    learnt = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
    if len(learnt) < LEAST_VOCABULARY:
        raise ModelUnsupportedError(
            f"The tokenizer's vocabulary has {len(learnt)} tokens besides the special ones, so that all texts would be "
            f"alike: is tokenizer.json missing from the model? Fetch the checkpoint again with its tokenizer's files."
        )


def table_size(transformer: Transformer) -> int | None:
    """Rows of a backbone's token embeddings; None where it has no such table."""
    import torch

    try:
        table = transformer.auto_model.get_input_embeddings()
    except NotImplementedError:
        return None
    return table.num_embeddings if isinstance(table, torch.nn.Embedding) else None


def check_ids(largest: int, n_embeddings: int | None) -> None:
    """Refuse token ids that the backbone has no embedding for.

    Raises:
        ModelUnsupportedError: with the numbers.
    """
    if n_embeddings is not None and largest >= n_embeddings:
        raise ModelUnsupportedError(
            f"The tokenizer gives the token id {largest:,}, but the model has embeddings for ids below "
            f"{n_embeddings:,} alone: they are not of one model. Fetch the checkpoint again."
        )


def _tokens(encoding: Encoding, n_prompt: int, n_chars: int, n_last: int) -> Tokens:
    offsets = np.asarray(encoding.offsets, np.int64).reshape(-1, 2)
    is_special = np.asarray(encoding.special_tokens_mask, bool)
    # a text that gives no token leaves first and last special tokens side by side
    n_prefix = len(is_special) - n_last if is_special.all() else _count_leading(is_special)
    n_prefix += _count_leading(~is_special[n_prefix:] & (offsets[n_prefix:, 1] <= n_prompt))
    n_suffix = _count_leading(is_special[n_prefix:][::-1])
    spans = _spans(offsets - n_prompt, n_prefix, n_suffix, n_chars)
    return Tokens(np.asarray(encoding.ids, np.int64), spans, n_prefix, n_suffix)


def _count_leading(flags: NDArray[np.bool_]) -> int:
    return int(np.logical_and.accumulate(flags).sum())


def _spans(offsets: IdArray, n_prefix: int, n_suffix: int, n_chars: int) -> NDArray[np.int32]:
    spans = np.clip(offsets, 0, n_chars)
    spans[:n_prefix] = 0
    spans[len(spans) - n_suffix :] = n_chars
    # a token without text has the offsets (0, 0) wherever it stands
    np.maximum.accumulate(spans[:, 0], out=spans[:, 0])
    np.maximum(spans[:, 0], spans[:, 1], out=spans[:, 1])
    return spans.astype(np.int32)
