"""Where the sentences of a text begin and end."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

__all__ = ["sentences"]

_CLOSING = r"[\"'”“’‘»«)\]」』）】》〉]*"
# a blank follows the sentence ends of alphabets, of which a full stop stands in numbers too, and may follow the others
_SENTENCE_END = re.compile(rf"[.!?…]{_CLOSING}(\s+)|(\n\s*)|(?:[。！？｡।॥؟۔]|．(?!\d))+{_CLOSING}(\s*)")
_END_CHARACTERS = "\n.!?…。！？｡．।॥؟۔"
_IS_END = np.zeros(max(map(ord, _END_CHARACTERS)) + 2, np.bool_)
_IS_END[[ord(c) for c in _END_CHARACTERS]] = True
_ABBREVIATIONS = frozenset(["Dr", "Mr", "Mrs", "Ms", "Prof", "St", "vs", "e.g", "E.g", "i.e", "I.e", "Fig", "fig"])
# more than the longest abbreviation with two brackets ahead of it has
_BEFORE_FULL_STOP = 7
# a stretch without sentence ends is cut near this length, so that a passage can be read at a glance
_MOST_CHARACTERS = 400
_LAST_BLANK = re.compile(r".*\s", re.DOTALL)

# lines of text that was wrapped by hand or by a mail program are within these lengths ...
_NARROWEST_WRAP, _WIDEST_WRAP = 40, 120
# ... and a line that is shorter than this part of the longest of the five lines around it was ended on purpose
_FULL_LINE = 0.6
_NEW_ITEM = re.compile(r"[-*+•◦▪‣·>|]\s|#{1,6}\s|\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,5})[.)]\s|[\[(]?\d{1,2}:\d\d")
_LABEL = re.compile(r"[^\W\d_][\w.'’-]*(?: [\w.'’-]+){0,2}:\s")


def sentences(text: str) -> NDArray[np.int64]:
    """Start and end of each sentence without the blanks around it, ``(S, 2) int64``, rising.

    A sentence ends at its full stop, question mark or the like, which is not that of an initial or of a common
    abbreviation, and at a blank line. A single line break ends it too, unless the text flows on: the line is about as
    long as those around it, as wrapped lines of 40 to 120 characters are, or ends with a comma, and the next line
    starts neither a list item, a heading nor a speaker's words. A next line with a capital letter flows on only if its
    first word had no room left. Where nothing ends a stretch, it is cut at a blank before 400 characters.
    """
    bounds: list[tuple[int, int]] = []
    start = 0
    for end, next_start in [*_breaks(text), (len(text), len(text))]:
        while end - start > _MOST_CHARACTERS:
            cut = _cut(text, start, end)
            _append_trimmed(bounds, text, start, cut)
            start = cut
        _append_trimmed(bounds, text, start, end)
        start = next_start
    return np.array(bounds or [(0, len(text))], np.int64)


def _breaks(text: str) -> Iterator[tuple[int, int]]:
    """Where sentences end and where the next ones start, rising."""
    # a regular expression tried at every character takes longer than all else in this file
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    full_lines = _full_lines(text)
    passed = 0
    for position in np.flatnonzero(_IS_END[np.minimum(characters, len(_IS_END) - 1)]).tolist():
        match = _SENTENCE_END.match(text, position) if position >= passed else None
        if match is None:
            continue
        sign, next_start = text[position], match.end()
        if sign == "." and _is_abbreviated(text, position, next_start):
            continue
        if sign == "\n" and match[0].count("\n") == 1 and _flows_on(text, position, next_start, full_lines):
            continue
        yield match.span(match.lastindex or 0)
        passed = next_start


def _is_abbreviated(text: str, stop: int, next_start: int) -> bool:
    """Whether a full stop ends an initial or an abbreviation instead of a sentence."""
    words = text[max(0, stop - _BEFORE_FULL_STOP) : stop].split()
    if not words or len(words[-1]) == _BEFORE_FULL_STOP:
        return False
    word = words[-1].lstrip("([\"'“„«»-")
    if word in ("No", "no"):
        return text[next_start : next_start + 1].isdigit()
    if word == "etc":
        return not text[next_start : next_start + 1].isupper()
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isupper())


def _full_lines(text: str) -> dict[int, int]:
    """The line breaks after lines that a wrapped text may have, each with the room left in its line."""
    lengths = [0, 0, *map(len, text.split("\n")), 0, 0]
    full = {}
    line_end = -1
    around = map(max, lengths, lengths[1:], lengths[2:], lengths[3:], lengths[4:])
    for length, longest in zip(lengths[2:-3], around, strict=False):
        line_end += length + 1
        if _NARROWEST_WRAP <= longest <= _WIDEST_WRAP and length >= _FULL_LINE * longest:
            full[line_end] = longest - length
    return full


def _flows_on(text: str, line_end: int, next_start: int, full_lines: dict[int, int]) -> bool:
    """Whether a sentence goes on over a single line break."""
    room = full_lines.get(line_end)
    if room is None and not text[max(0, line_end - 2) : line_end].rstrip().endswith(","):
        return False
    if next_start == len(text) or _NEW_ITEM.match(text, next_start):
        return False
    if not text[next_start].isupper():
        return True
    first_word = text[next_start : next_start + _WIDEST_WRAP].split(None, 1)[0]
    return room is not None and len(first_word) >= room and not _LABEL.match(text, next_start)


def _cut(text: str, start: int, end: int) -> int:
    """Where a stretch that is too long is cut: at a blank, or else before a character that stands by itself."""
    most = start + _MOST_CHARACTERS
    blank = _LAST_BLANK.match(text, start + _MOST_CHARACTERS // 2, most + 1)
    if blank is not None:
        return blank.end() - 1
    return next((n for n in chain(range(most, start, -1), range(most, end)) if not _extends(text, n)), end)


def _extends(text: str, position: int) -> bool:
    """Whether a character is shown as one with the character before it."""
    character = text[position]
    joined = "\u200d" in (character, text[position - 1])
    return joined or unicodedata.category(character)[0] == "M" or "\U0001f3fb" <= character <= "\U0001f3ff"


def _append_trimmed(bounds: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    """Append a stretch without the blanks around it; a stretch of blanks is left out."""
    piece = text[start:end]
    without_left = piece.lstrip()
    if without_left:
        left = start + len(piece) - len(without_left)
        bounds.append((left, left + len(without_left.rstrip())))
