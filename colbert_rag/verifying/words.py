"""The full-text index against the words of the texts.

It keeps no texts, so it is built again in a temporary database, which SQLite keeps on disk when it is large, and both
are compared word by word. SQLite's own check of the structure counts as a write, so it runs on a copy in that database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from colbert_rag.storage import Reading
from colbert_rag.storage.full_text import folded
from colbert_rag.storage.schema import FULLTEXT
from colbert_rag.types import Progress

__all__ = ["word_problems"]

_ROWS = 10_000
_TOLD_EVERY = 256
_SHADOWS = ("data", "idx", "docsize", "config")


def word_problems(reading: Reading, progress: Progress) -> Iterator[str]:
    """Whether BM25 finds each document by its words, and by no others."""
    connection = reading.connection
    _make_tables(connection)
    for shadow in _SHADOWS:
        connection.execute(f"DELETE FROM temp.copied_{shadow}")
        connection.execute(f"INSERT INTO temp.copied_{shadow} SELECT * FROM main.fulltext_{shadow}")
    # raises where the structure is broken
    connection.execute("INSERT INTO temp.copied (copied) VALUES ('integrity-check')")
    _rebuild(reading, progress)
    yield from _lookup_problems(connection)
    yield from _difference(connection, "the full-text index")
    for shadow, what in (("docsize", "length of a document"), ("config", "setting")):
        found, expected = (
            connection.execute(f"SELECT * FROM temp.{t}_{shadow} ORDER BY 1") for t in ("copied", "rebuilt")
        )
        if _first_difference(found, expected) is not None:
            yield f"a {what} in the full-text index is not what the texts give"
    if _totals(connection, "copied") != _totals(connection, "rebuilt"):
        yield "the totals in the full-text index are not what the texts give"
    # damage in the table of its parts may show only when they are merged, as a later write will
    connection.execute("INSERT INTO temp.copied (copied) VALUES ('optimize')")
    yield from _difference(connection, "the full-text index, once it is merged,")


def _rebuild(reading: Reading, progress: Progress) -> None:
    total = reading.count()
    for number, (key, document) in enumerate(reading.all_documents(), start=1):
        row = (key, *(folded(part, reading.has_pairs) for part in (document.heading, document.text)))
        reading.connection.execute("INSERT INTO temp.rebuilt (rowid, heading, text) VALUES (?, ?, ?)", row)
        if number % _TOLD_EVERY == 0 or number == total:
            progress("verify texts", number, total)


def _make_tables(connection: sqlite3.Connection) -> None:
    for name in ("copied", "rebuilt"):
        connection.execute(f"CREATE VIRTUAL TABLE temp.{name} USING {FULLTEXT}")
        connection.execute(f"CREATE VIRTUAL TABLE temp.{name}_words USING fts5vocab(temp, {name}, instance)")
    connection.execute("CREATE VIRTUAL TABLE temp.copied_terms USING fts5vocab(temp, copied, row)")


def _lookup_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """A word may be there and yet not be found, where the table that says on which page words begin has lost a row."""
    sql = (
        "SELECT term FROM temp.copied_terms t WHERE NOT EXISTS "
        "(SELECT 1 FROM temp.copied_words w WHERE w.term = t.term) LIMIT 1"
    )
    for (term,) in connection.execute(sql):
        yield f"the full-text index does not find its word {term!r}"
    first_pages = "SELECT segid FROM temp.copied_idx WHERE term = X'' AND pgno / 2 = 1"
    sql = f"SELECT DISTINCT id >> 37 FROM temp.copied_data WHERE id > 10 EXCEPT {first_pages}"
    for (segment,) in connection.execute(sql):
        yield f"the full-text index does not say where its part {segment} begins"


def _difference(connection: sqlite3.Connection, what: str) -> Iterator[str]:
    columns = 'term, doc, col, "offset"'
    found, expected = (connection.execute(f"SELECT {columns} FROM temp.{t}_words") for t in ("copied", "rebuilt"))
    difference = _first_difference(found, expected)
    if difference is not None:
        yield f"{what} differs from the texts at the word {difference[0]!r} of key {difference[1]}"


def _totals(connection: sqlite3.Connection, table: str) -> bytes:
    """Numbers of documents and words, packed; those of no documents are written as zeros or not at all."""
    row = connection.execute(f"SELECT CAST(block AS BLOB) FROM temp.{table}_data WHERE id = 1").fetchone()
    return b"" if row is None else bytes(row[0]).rstrip(b"\0")


def _first_difference(found: sqlite3.Cursor, expected: sqlite3.Cursor) -> tuple[object, ...] | None:
    while True:
        some, others = found.fetchmany(_ROWS), expected.fetchmany(_ROWS)
        if some != others:
            pairs = zip([*some, None], [*others, None], strict=False)
            one, other = next((one, other) for one, other in pairs if one != other)
            rows: list[tuple[object, ...]] = [row for row in (one, other) if row is not None]
            # by text, since what is damaged may be of any type
            return min(rows, key=repr)
        if not some:
            return None
