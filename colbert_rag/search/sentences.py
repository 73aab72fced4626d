"""Where the sentences of a text begin and end."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["sentences"]

_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]]*(\s+)|(\n+)|[。！？][\"'”’)\]]*(\s*)")
_END_CHARACTERS = "\n.!?。！？"
_IS_END = np.zeros(max(map(ord, _END_CHARACTERS)) + 2, np.bool_)
_IS_END[[ord(c) for c in _END_CHARACTERS]] = True
# a stretch without sentence ends is cut near this length, so that a passage can be read at a glance
_MOST_CHARACTERS = 400


def sentences(text: str) -> NDArray[np.int64]:
    """Start and end of each sentence without the blanks around it, ``(S, 2) int64``, rising."""
    bounds: list[tuple[int, int]] = []
    start = 0
    for end, next_start in [*_breaks(text), (len(text), len(text))]:
        while end - start > _MOST_CHARACTERS:
            cut = text.rfind(" ", start + _MOST_CHARACTERS // 2, start + _MOST_CHARACTERS)
            cut = cut if cut > 0 else start + _MOST_CHARACTERS
            _append_trimmed(bounds, text, start, cut)
            start = cut
        _append_trimmed(bounds, text, start, end)
        start = next_start
    return np.array(bounds or [(0, len(text))], np.int64)


def _breaks(text: str) -> Iterator[tuple[int, int]]:
    """Where sentences end and where the next ones start, rising."""
    # a regular expression tried at every character takes longer than all else in this file
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    passed = 0
    for position in np.flatnonzero(_IS_END[np.minimum(characters, len(_IS_END) - 1)]).tolist():
        match = _SENTENCE_END.match(text, position) if position >= passed else None
        if match is not None:
            yield match.span(match.lastindex or 0)
            passed = match.end()


def _append_trimmed(bounds: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    """Append a stretch without the blanks around it; a stretch of blanks is left out."""
    piece = text[start:end]
    without_left = piece.lstrip()
    if without_left:
        left = start + len(piece) - len(without_left)
        bounds.append((left, left + len(without_left.rstrip())))
