"""Which token of a query each of its vectors stands for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from colbert_rag.encoder.token_model import TokenModel
from colbert_rag.encoder.tokenise import IdArray
from colbert_rag.types import TokenLabel

__all__ = ["labels_of", "query_labels"]


def query_labels(model: TokenModel, text: str) -> list[TokenLabel]:
    """Label the vectors of a query, in their order.

    Args:
        model: The model that encodes the query; it runs once, to see what its skiplist drops.
        text: The query, at most as long as the model's context.

    Returns:
        For each vector its characters in the query, without the blanks around them, or else the token's own name:
        of special tokens, of the prompt, and of the masks that a query is expanded with (ColBERT, arXiv 2004.12832,
        section 3.2).
    """
    [tokens] = model.tokenise([text], "query")
    ids, is_text = _expanded(model, tokens.ids)
    [(_, is_kept)] = model.encode_ids([ids], "query")
    # a query of which the model keeps nothing is encoded again, whole and without masks
    chosen = is_kept if is_kept.any() else is_text
    spans = np.zeros((len(ids), 2), np.int32)
    spans[is_text] = tokens.spans
    names = model.model.tokenizer.convert_ids_to_tokens(ids[chosen].tolist())
    return labels_of(text, spans[chosen], names)


def labels_of(text: str, spans: NDArray[np.int32], names: Sequence[str]) -> list[TokenLabel]:
    """Label tokens by their characters ``(T, 2)`` without the blanks around them, and where they have none by name."""
    return [_label(text, start, end, name) for (start, end), name in zip(spans.tolist(), names, strict=True)]


def _expanded(model: TokenModel, ids: IdArray) -> tuple[IdArray, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """The ids with the masks that the model adds, and which of them are the query's own ``(T,) bool``."""
    expansion, tokenizer = model.query_expansion, model.model.tokenizer
    n_masks = 0 if expansion is None else max(0, expansion["length"] - len(ids))
    is_text = np.ones(len(ids) + n_masks, np.bool_)
    if expansion is None or not n_masks:
        return ids, is_text
    # as sentence-transformers chooses it: models without a mask token use their end of sequence
    mask_id = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.eos_token_id
    if expansion["token"] is not None:
        mask_id = tokenizer.convert_tokens_to_ids(expansion["token"])
    is_left = expansion["strategy"] == "fixed" and tokenizer.padding_side == "left"
    is_text[slice(n_masks) if is_left else slice(len(ids), None)] = False
    expanded = np.full(len(is_text), mask_id, np.int64)
    expanded[is_text] = ids
    return expanded, is_text


def _label(text: str, start: int, end: int, name: str) -> TokenLabel:
    piece = text[start:end]
    if not piece:
        return TokenLabel(name)
    if piece.strip():
        start, end = start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
    return TokenLabel(text[start:end], start, end)
