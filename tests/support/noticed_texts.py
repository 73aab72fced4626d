"""Three short texts for a catalog, and what BM25 finds in them."""

from __future__ import annotations

__all__ = ["TEXTS", "found"]

TEXTS = {
    "notice": "The notice period is three months.",
    "holiday": "Thirty days of holiday, and the notice board.",
    "code": "call read_file(path) in C++, a naïve café",
}


def found(catalog, query, limit=10):
    """Ids that BM25 finds, best first."""
    with catalog.reading() as reading:
        scored = reading.bm25(query, limit)
        names = reading.ids_of([key for key, _ in scored])
        return [names[key] for key, _ in scored]
