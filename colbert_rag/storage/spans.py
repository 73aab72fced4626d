"""Character spans of tokens in about one byte each.

A token is coded by the gap since the end of the token before it and its own length: three bits of
gap (0 to 6) and five bits of length (0 to 31). Gap 7 marks an escape: the start and end of such a
token stand in full in a table of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack_spans", "unpack_spans"]

_ESCAPE = 7 << 5


def pack_spans(spans: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Pack the spans of one document.

    Args:
        spans: ``(T, 2) int32``, start and end; start <= end.

    Returns:
        ``(T,) uint8`` and the escapes, ``(E, 3) int32``: token number, start, end.
    """
    starts, ends = spans[:, 0].astype(np.int64), spans[:, 1].astype(np.int64)
    gaps = starts - np.concatenate([[0], ends[:-1]])
    lengths = ends - starts
    short = (gaps >= 0) & (gaps < 7) & (lengths < 32)
    packed = np.where(short, gaps << 5 | lengths, _ESCAPE).astype(np.uint8)
    tokens = np.flatnonzero(~short)
    escapes = np.column_stack([tokens, starts[tokens], ends[tokens]]).astype(np.int32)
    return packed, escapes


def unpack_spans(
    packed: NDArray[np.uint8], escapes: NDArray[np.int32], n_tokens: Sequence[int] | None = None
) -> NDArray[np.int32]:
    """Rebuild ``(T, 2) int32`` from what :func:`pack_spans` made.

    Args:
        packed: ``(T,) uint8``, of one document or of several after one another.
        escapes: ``(E, 3) int32``, token numbers counted through all documents.
        n_tokens: Tokens of each document; None for one document.
    """
    lengths = (packed & 31).astype(np.int64)
    steps = (packed >> 5) + lengths
    tokens = escapes[:, 0]
    lengths[tokens] = 0
    steps[tokens] = 0
    ends = steps.cumsum()
    counts = [len(packed)] if n_tokens is None else list(n_tokens)
    firsts = np.cumsum([0, *counts[:-1]])
    if len(counts) > 1:
        ends -= np.repeat(ends[firsts] - steps[firsts], counts)
    if len(tokens):
        # from an escape on, the running end is what lies after its token
        latest = np.full(len(packed), -1)
        latest[tokens] = np.arange(len(tokens))
        latest = np.maximum.accumulate(latest)
        jumps = escapes[:, 2] - ends[tokens]
        is_of_document = latest >= np.repeat(tokens.searchsorted(firsts), counts)
        ends += np.where(is_of_document, jumps[latest], 0)
    spans = np.empty((len(packed), 2), np.int32)
    spans[:, 0] = ends - lengths
    spans[:, 1] = ends
    spans[tokens, 0] = escapes[:, 1]
    return spans
