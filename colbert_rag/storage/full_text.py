"""Words as the full-text index cuts and folds them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

__all__ = ["folded", "parts_of", "words_of"]

# words as FTS5's unicode61 cuts them: letters and digits, with the combining marks that it folds away
_WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u0331])*")
# Chinese and Japanese have no blanks between words, and Korean has them between words with all their endings
_UNSPACED = re.compile(
    "[\u3005\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
    "\u1100-\u11ff\uac00-\ud7af]+"
)
# FTS5 joins that many words with OR in well under a millisecond each
_QUERY_WORDS = 256


def words_of(query: str, in_pairs: bool = True) -> list[str]:
    """The different words of a query, as the full-text index cuts them."""
    return list(dict.fromkeys(_WORD.findall(folded(query, in_pairs))))[:_QUERY_WORDS]


def folded(text: str, in_pairs: bool = True) -> str:
    """Text as it is given to FTS5, whose tables of letters are older than Python's: one case, one composition.

    Args:
        text: Any.
        in_pairs: Whether a run of characters of a script without blanks becomes words of two, each beginning with the
            last one's second, as Lucene's CJKBigramFilter has it.
    """
    composed = unicodedata.normalize("NFC", text.lower())
    return _UNSPACED.sub(_spaced, composed) if in_pairs else composed


def parts_of(word: str) -> Iterator[tuple[int, int]]:
    """Where those words begin and end that :func:`folded` makes of one."""
    end = 0
    for run in _UNSPACED.finditer(word):
        if run.start() > end:
            yield end, run.start()
        yield from _pairs(run)
        end = run.end()
    if end < len(word):
        yield end, len(word)


def _pairs(run: re.Match[str]) -> Iterator[tuple[int, int]]:
    start, end = run.span()
    yield from ((n, min(n + 2, end)) for n in range(start, max(start + 1, end - 1)))


def _spaced(run: re.Match[str]) -> str:
    return f" {' '.join(run.string[a:b] for a, b in _pairs(run))} "
