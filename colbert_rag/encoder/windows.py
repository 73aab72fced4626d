"""How a document that is longer than the model's context is cut into overlapping windows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Window", "cut"]


@dataclass(frozen=True, slots=True)
class Window:
    """A run of tokens that goes through the model together.

    Attributes:
        start: First token of the window.
        stop: Token after the last one.
        own_start: First token whose vector is kept from this window.
        own_stop: Token after the last one that is kept; ``start <= own_start <= own_stop <= stop``.
    """

    start: int
    stop: int
    own_start: int
    own_stop: int


def cut(n_tokens: int, room: int, overlap: int) -> list[Window]:
    """Cut a run of tokens into evenly spread windows, each token owned by exactly one.

    A token is owned by the window in which the shorter of its two sides of context is longest:
    windows have one length, so that is the one with the nearest centre.

    Args:
        n_tokens: Tokens to be cut, at least 0.
        room: Tokens that a window holds, at least 1.
        overlap: Tokens that neighbours share at least; at most half of ``room`` is used.

    Returns:
        The windows in text order; a single one where everything fits.
    """
    if n_tokens <= room:
        return [Window(0, n_tokens, 0, n_tokens)]
    stride = room - min(overlap, room // 2)
    slack = n_tokens - room
    n_gaps = -(-slack // stride)
    starts = [i * slack // n_gaps for i in range(n_gaps + 1)]
    borders = [0, *((left + room + right) // 2 for left, right in pairwise(starts)), n_tokens]
    return [
        Window(start, start + room, own_start, own_stop)
        for start, (own_start, own_stop) in zip(starts, pairwise(borders), strict=True)
    ]
