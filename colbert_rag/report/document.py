"""A document's text with the evidence in it, as HTML."""

from __future__ import annotations

from itertools import groupby

from colbert_rag.report.escaping import escaped
from colbert_rag.report.marking import Mark, Piece, marks_of, pieces_of, stretches_of
from colbert_rag.types import Explanation, QueryToken

__all__ = ["document_text", "is_word", "level_of", "name_of"]

# of a mark, before it only says how many more there are
_NUMBERS_SHOWN = 3


def document_text(explanation: Explanation, prefix: str) -> str:
    """The whole text: passages and matched tokens marked, what is far from them folded away.

    Args:
        explanation: Of the document.
        prefix: Of the ids of the marks, ``{prefix}-m0`` on, which link to the rows ``{prefix}-q0`` on.
    """
    hit = explanation.hit
    marks = marks_of(explanation.query_tokens)
    parts = []
    for stretch in stretches_of(hit.text, hit.passages, marks):
        if stretch.is_shown:
            shown = pieces_of(stretch, hit.passages, marks)
            parts += [_passage(explanation, n, list(part), marks, prefix) for n, part in groupby(shown, _passage_of)]
        else:
            summary = f"{stretch.end - stretch.start:,} characters without a match"
            text = escaped(hit.text[stretch.start : stretch.end])
            parts.append(f"<details class=fold><summary>{summary}</summary><div>{text}</div></details>")
    return f"<div class=text dir=auto>{''.join(parts)}</div>"


def level_of(similarity: float) -> int:
    """The strength, 0 to 4, that a similarity is shown with."""
    return min(4, max(0, int(similarity * 5)))


def name_of(token: QueryToken, position: int) -> str:
    """What to call a token of the query."""
    return token.label.text or f"token {position + 1}"


def _passage_of(piece: Piece) -> int | None:
    return piece.passage


def _passage(explanation: Explanation, n: int | None, pieces: list[Piece], marks: list[Mark], prefix: str) -> str:
    inner = "".join(_piece(explanation, piece, marks, prefix) for piece in pieces)
    if n is None:
        return inner
    score = f"evidence {n + 1}, score {explanation.hit.passages[n].score:.2f}"
    return f'<span class=passage title="{score}">{inner}</span>'


def _piece(explanation: Explanation, piece: Piece, marks: list[Mark], prefix: str) -> str:
    text = escaped(explanation.hit.text[piece.start : piece.end])
    if piece.mark is None:
        return text
    mark, tokens = marks[piece.mark], explanation.query_tokens
    level = level_of(max(tokens[n].similarity for n in mark.tokens))
    found = "; ".join(f"{name_of(tokens[n], n)} {tokens[n].similarity:.2f}" for n in mark.tokens)
    # a mark that the border of a passage cuts in two has its id and its numbers once
    name = f' id="{prefix}-m{piece.mark}"' if piece.start <= mark.start else ""
    numbers = f' data-n="{_numbers(explanation, mark)}"' if piece.end >= mark.end else ""
    link = f'<a href="#{prefix}-q{_first(explanation, mark)}" title="{escaped(found)}">{text}</a>'
    return f"<mark{name} class=s{level}{numbers}>{link}</mark>"


def _words(explanation: Explanation, mark: Mark) -> list[int]:
    """Those of a mark's tokens that stand for words of the query."""
    return [n for n in mark.tokens if is_word(explanation.query_tokens[n])]


def _first(explanation: Explanation, mark: Mark) -> int:
    return (_words(explanation, mark) or list(mark.tokens))[0]


def _numbers(explanation: Explanation, mark: Mark) -> str:
    numbers = [str(n + 1) for n in _words(explanation, mark)]
    more = len(numbers) - _NUMBERS_SHOWN
    return ",".join(numbers[:_NUMBERS_SHOWN]) + (f"+{more}" if more > 0 else "")


def is_word(token: QueryToken) -> bool:
    """Whether a token stands for characters of the query, as far as is known."""
    return token.label.start is not None or not token.label.text
