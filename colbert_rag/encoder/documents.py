"""Documents to model-sized pieces and back: each token's vector is taken from one piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from colbert_rag.encoder.tokenise import IdArray, Tokens
from colbert_rag.encoder.windows import cut
from colbert_rag.errors import ModelUnsupportedError
from colbert_rag.types import Float16Array, TokenVectors

__all__ = ["Piece", "assemble", "split"]


@dataclass(frozen=True, slots=True)
class Piece:
    """What goes through the model at once: prefix, a window of the text, suffix.

    Attributes:
        ids: ``(T,) int64``.
        own: The tokens of this piece whose vectors the document keeps.
    """

    ids: IdArray
    own: slice


def split(tokens: Tokens, window: int, overlap: int) -> list[Piece]:
    """Cut a document into pieces; the prefix is owned by the first, the suffix by the last.

    Args:
        tokens: The whole document.
        window: Tokens that a piece may have, prefix and suffix included.
        overlap: Tokens of the text that neighbours share at least.

    Raises:
        ModelUnsupportedError: prefix and suffix leave no room for text.
    """
    n_around = tokens.n_prefix + tokens.n_suffix
    body_stop = len(tokens.ids) - tokens.n_suffix
    n_body = body_stop - tokens.n_prefix
    if window <= n_around and n_body > 0:
        raise ModelUnsupportedError(
            f"A window of {window:,} tokens leaves no room for text: the model's prompt and special tokens take "
            f"{n_around:,}. Set a larger document_length."
        )
    prefix, body, suffix = np.split(tokens.ids, [tokens.n_prefix, body_stop])
    pieces = []
    for part in cut(n_body, window - n_around, overlap) if n_body else cut(0, 1, 0):
        ids = np.concatenate([prefix, body[part.start : part.stop], suffix])
        shift = tokens.n_prefix - part.start
        own_start = part.own_start + shift if part.own_start else 0
        own_stop = part.own_stop + shift if part.own_stop < n_body else len(ids)
        pieces.append(Piece(ids, slice(own_start, own_stop)))
    return pieces


def assemble(
    tokens: Tokens, pieces: Sequence[Piece], encoded: Sequence[tuple[Float16Array, NDArray[np.bool_]]]
) -> TokenVectors:
    """Join what the pieces own, less the tokens that the model's skiplist drops.

    A document of which nothing would be left keeps all its tokens.

    Args:
        tokens: The whole document.
        pieces: Its pieces, in text order.
        encoded: For each piece the vectors ``(T, D) float16`` and which of them the model keeps ``(T,)``.
    """
    vectors = np.concatenate([part[piece.own] for piece, (part, _) in zip(pieces, encoded, strict=True)])
    is_kept = np.concatenate([part[piece.own] for piece, (_, part) in zip(pieces, encoded, strict=True)])
    if is_kept.all() or not is_kept.any():
        return TokenVectors(vectors, tokens.spans)
    return TokenVectors(vectors[is_kept], tokens.spans[is_kept])
