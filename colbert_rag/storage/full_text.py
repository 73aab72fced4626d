"""Words as the full-text index cuts and folds them."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["folded", "words_of"]

# words as FTS5's unicode61 cuts them: letters and digits, with the combining marks that it folds away
_WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u0331])*")
# FTS5 joins that many words with OR in well under a millisecond each
_QUERY_WORDS = 256


def words_of(query: str) -> list[str]:
    """The different words of a query, as the full-text index cuts them."""
    return list(dict.fromkeys(_WORD.findall(folded(query))))[:_QUERY_WORDS]


def folded(text: str) -> str:
    """Text as it is given to FTS5, whose tables of letters are older than Python's: one case, one composition."""
    return unicodedata.normalize("NFC", text.lower())
