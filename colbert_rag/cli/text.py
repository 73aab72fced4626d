"""Text of documents on a terminal: harmless, and with the matches marked."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from rich.text import Text

from colbert_rag.types import Hit, Passage

__all__ = ["MATCH_STYLE", "excerpt", "highlight", "printable"]

MATCH_STYLE = "bold green"
EXCERPT_CHARACTERS = 300

# format characters that reorder the text around them; others join letters and emoji and stay
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """Replace every character that could steer a terminal by a blank; line ends stay, offsets too."""
    return "".join(character if _is_harmless(character) else " " for character in text)


def highlight(text: str, start: int, end: int, matches: Iterable[tuple[int, int]]) -> Text:
    """Return ``text[start:end]`` with the matches, which are offsets in ``text``, marked."""
    shown = Text(printable(text[start:end]))
    for match_start, match_end in matches:
        if match_start < end and match_end > start:
            shown.stylize(MATCH_STYLE, max(match_start - start, 0), min(match_end, end) - start)
    return shown


def excerpt(hit: Hit, *, is_full: bool = False) -> Text:
    """Return what to show of a hit: its best passage, or all of its text, with the matches marked."""
    matches = [match for passage in hit.passages for match in passage.matches]
    if is_full:
        return highlight(hit.text, 0, len(hit.text), matches)
    start, end = _shown_span(hit.text, hit.passages)
    shown = highlight(hit.text, start, end, matches)
    return Text("… " if start else "").append_text(_one_line(shown)).append(" …" if end < len(hit.text) else "")


def _shown_span(text: str, passages: Sequence[Passage]) -> tuple[int, int]:
    if passages:
        return passages[0].start, passages[0].end
    return 0, min(len(text), EXCERPT_CHARACTERS)


def _one_line(text: Text) -> Text:
    line = text.copy()
    line.plain = text.plain.replace("\n", " ")
    return line


def _is_harmless(character: str) -> bool:
    if character == "\n":
        return True
    return unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") and character not in _BIDI_CONTROLS
