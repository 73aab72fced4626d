"""Text to token ids and character spans, untouched by any other user of the tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from colbert_rag.errors import ModelUnsupportedError

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

__all__ = ["IdArray", "Tokeniser", "Tokens"]

IdArray: TypeAlias = NDArray[np.int64]


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
    """A private copy of a fast tokenizer's backend that neither truncates nor pads.

    Truncation and padding are state of the backend, and sentence-transformers sets them on the
    shared one for each call: from two threads, documents come back cut to the query length.

    Args:
        tokenizer: A tokenizer of transformers.

    Raises:
        ModelUnsupportedError: a slow tokenizer, which knows no character offsets.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        from tokenizers import Tokenizer

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise ModelUnsupportedError(
                f"The model's tokenizer is a {type(tokenizer).__name__}, which gives no character offsets; a fast "
                f"tokenizer is needed. Save the model with a tokenizer.json (transformers.PreTrainedTokenizerFast)."
            )
        self._backend: Tokenizer = Tokenizer.from_str(backend.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()

    def tokenise(self, texts: Sequence[str], prompt: str) -> list[Tokens]:
        """Tokenise ``prompt + text`` for each text, at full length."""
        encodings = self._backend.encode_batch([prompt + text for text in texts])
        return [_tokens(encoding, len(prompt), len(text)) for encoding, text in zip(encodings, texts, strict=True)]


def _tokens(encoding: Encoding, n_prompt: int, n_chars: int) -> Tokens:
    offsets = np.asarray(encoding.offsets, np.int64).reshape(-1, 2)
    is_special = np.asarray(encoding.special_tokens_mask, bool)
    n_prefix = _count_leading(is_special)
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
