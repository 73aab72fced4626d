"""Which characters of a document are marked, which are shown, and which are folded away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from colbert_rag.types import Passage, QueryToken

__all__ = ["Mark", "Piece", "Stretch", "marks_of", "pieces_of", "stretches_of"]

# on either side of what is marked: about two lines of a page
_CONTEXT = 160
# folding away less than this would save no room
_FOLDED_LEAST = 240
# of a document in which nothing is marked
_BEGINNING = 600


@dataclass(frozen=True, slots=True)
class Mark:
    """Characters of a document that tokens of the query matched.

    Attributes:
        start: Character offset in the document's text.
        end: Character offset after the last character.
        tokens: Positions of the query's tokens, rising.
    """

    start: int
    end: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a document's text that is shown, or folded away."""

    start: int
    end: int
    is_shown: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a stretch that lies in one passage or none, and in one mark or none, by position."""

    start: int
    end: int
    passage: int | None
    mark: int | None


def marks_of(query_tokens: Sequence[QueryToken]) -> list[Mark]:
    """The marks of a document, disjoint and rising; matches that overlap are one."""
    marks: list[Mark] = []
    found = sorted((t.match.start, t.match.end, n) for n, t in enumerate(query_tokens) if t.match.text)
    for start, end, n in found:
        if marks and start < marks[-1].end:
            last = marks.pop()
            marks.append(Mark(last.start, max(last.end, end), tuple(sorted((*last.tokens, n)))))
        else:
            marks.append(Mark(start, end, (n,)))
    return marks


def stretches_of(text: str, passages: Sequence[Passage], marks: Sequence[Mark]) -> list[Stretch]:
    """Cut a text into what is shown, which is all that is marked with some context, and what is folded away."""
    spans = sorted([(p.start, p.end) for p in passages] + [(m.start, m.end) for m in marks]) or [(0, _BEGINNING)]
    shown = [(0, 0)]
    for left, right in [*(_with_context(text, *span) for span in spans), (len(text), len(text))]:
        first, last = shown[-1]
        if left - last < _FOLDED_LEAST:
            shown[-1] = (first, max(last, right))
        else:
            shown.append((left, right))
    cuts = [0, *(cut for span in shown for cut in span), len(text)]
    return [Stretch(start, end, is_shown=bool(n % 2)) for n, (start, end) in enumerate(pairwise(cuts)) if start < end]


def pieces_of(stretch: Stretch, passages: Sequence[Passage], marks: Sequence[Mark]) -> Iterator[Piece]:
    """Cut a stretch wherever a passage or a mark begins or ends."""
    evidence = [(passage.start, passage.end) for passage in passages]
    marked = [(mark.start, mark.end) for mark in marks]
    inside = {cut for span in evidence + marked for cut in span if stretch.start < cut < stretch.end}
    for start, end in pairwise(sorted({stretch.start, stretch.end, *inside})):
        yield Piece(start, end, _holder(evidence, start), _holder(marked, start))


def _holder(spans: Sequence[tuple[int, int]], position: int) -> int | None:
    return next((n for n, (start, end) in enumerate(spans) if start <= position < end), None)


def _with_context(text: str, start: int, end: int) -> tuple[int, int]:
    """Characters around a span, to the nearest blank so that no word is cut."""
    left, right = max(0, start - _CONTEXT), min(len(text), end + _CONTEXT)
    before, after = text.find(" ", left, start), text.rfind(" ", end, right)
    return (left if not left or before < 0 else before + 1), (right if right == len(text) or after < 0 else after)
