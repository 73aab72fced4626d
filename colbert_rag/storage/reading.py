"""What can be read inside a catalog transaction."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any

from pydantic import ValidationError

from colbert_rag.errors import CorruptIndexError
from colbert_rag.filters import Condition, to_sql
from colbert_rag.storage.connection import CATALOG
from colbert_rag.storage.full_text import words_of
from colbert_rag.storage.guards import work_bounded
from colbert_rag.storage.records import IndexSettings
from colbert_rag.storage.rows import (
    CONTENT_COLUMNS,
    StoredDocument,
    content_checksum,
    document_of,
    keys_checksum,
    row_checksum,
)
from colbert_rag.types import Document

__all__ = ["MOST_RECORD", "STATE_COLUMNS", "Reading", "whole_number"]

# SQLite binds 32,766 values at most; smaller statements are cached better
_BATCH = 500
# a document without content must not be left out, but be found damaged
_DOCUMENTS = "documents d LEFT JOIN content c ON c.key = d.key"
MOST_RECORD = 1 << 20
"""Characters of a record's JSON, which takes many times its length when it is parsed; ours have some thousand."""
# each is worth reading by itself when the segments' rows are damaged, so their checksum is one of them
STATE_COLUMNS = "settings, codec, commits, next_key, tombstones, segments"
_CHECKED = f"c.checksum, {CONTENT_COLUMNS}"


class Reading:
    """Queries on one commit.

    Args:
        connection: Inside a transaction.
        is_whole: Says whether all that was read so far belongs to one commit; None where locks see to that.
    """

    def __init__(self, connection: sqlite3.Connection, is_whole: Callable[[], bool] | None = None) -> None:
        self.connection = connection
        self._is_whole = is_whole

    def is_whole(self) -> bool:
        """Whether all that was read so far belongs to one commit; what is not must not be kept."""
        return self._is_whole is None or self._is_whole()

    def commits(self) -> int:
        """Number of the commit that is seen."""
        (number,) = self._row("SELECT commits FROM state")
        return whole_number(number, "the number of the commit")

    def state_rows(self) -> tuple[tuple[str, str | None, int], list[str]]:
        """Settings, codec and commit number as stored, and every segment record.

        Raises:
            CorruptIndexError: they are not what was committed.
        """
        *row, checksum = self._row(f"SELECT {STATE_COLUMNS}, checksum FROM state")
        segments = self._segment_rows()
        if row_checksum(*row) != checksum or row_checksum(*chain.from_iterable(segments)) != row[-1]:
            msg = f"{CATALOG}: the state and the segment records differ from what was committed (crc32)."
            raise CorruptIndexError(f"{msg} Restore the index from a backup.")
        records = [record for _, record in segments]
        if any(len(record) > MOST_RECORD for record in (*row[:2], *records) if isinstance(record, str)):
            msg = f"a record takes more than {MOST_RECORD:,} characters of JSON. Restore the index from a backup."
            raise CorruptIndexError(msg)
        return (row[0], row[1], row[2]), records

    def _segment_rows(self) -> list[tuple[str, str]]:
        rows = {}
        for name, record in self.connection.execute("SELECT name, record FROM segments ORDER BY name"):
            if name in rows:
                raise _endless("segments")
            rows[name] = record
        return list(rows.items())

    def _row(self, sql: str) -> tuple[Any, ...]:
        rows = self.connection.execute(sql).fetchmany(2)
        if len(rows) != 1:
            found_instead = "two state rows" if rows else "lost its state row"
            msg = f"the catalog has {found_instead}. Restore the index from a backup."
            raise CorruptIndexError(msg)
        found: tuple[Any, ...] = rows[0]
        return found

    def tombstones(self) -> list[int]:
        """Keys of the documents that are deleted but still in their segments, rising.

        Raises:
            CorruptIndexError: they are not what was committed.
        """
        keys = self._tombstones()
        (checksum,) = self._row("SELECT tombstones FROM state")
        if keys_checksum(keys) != checksum:
            msg = f"{CATALOG}: the tombstones differ from what was committed (crc32). Restore the index from a backup."
            raise CorruptIndexError(msg)
        return keys

    def _tombstones(self) -> list[int]:
        return list(_rising(self.connection.execute("SELECT key FROM tombstones ORDER BY key"), "tombstones"))

    def totals(self) -> tuple[int, int, int]:
        """Documents, their tokens, the bytes of their texts."""
        rows, most = "SELECT n_tokens, text_bytes FROM documents LIMIT ?", self._most_rows()
        sql = f"SELECT COUNT(*), COALESCE(SUM(n_tokens), 0), COALESCE(SUM(text_bytes), 0) FROM ({rows})"
        documents, tokens, text_bytes = self.connection.execute(sql, (most,)).fetchone()
        if documents == most:
            raise _endless("documents")
        return documents, whole_number(tokens, "a number of tokens"), whole_number(text_bytes, "the size of a text")

    def count(self) -> int:
        """Number of rows of documents, counted one by one; :meth:`Catalog.count` knows it without."""
        most = self._most_rows()
        sql = "SELECT COUNT(*) FROM (SELECT 1 FROM documents LIMIT ?)"
        (number,) = self.connection.execute(sql, (most,)).fetchone()
        if number == most:
            raise _endless("documents")
        return int(number)

    def _most_rows(self) -> int:
        """More rows than a table can have: where pages name each other in a circle, a scan would never end."""
        names = ("page_count", "page_size")
        (pages,), (size,) = (self.connection.execute(f"PRAGMA {name}").fetchone() for name in names)
        return int(pages * size)

    def ids(self) -> Iterator[str]:
        """Every id, rising."""
        last = ""
        for (document_id,) in self.connection.execute("SELECT id FROM documents ORDER BY id"):
            if _text(document_id) <= last:
                raise _endless("documents")
            yield document_id
            last = document_id

    def ids_of(self, keys: Sequence[int]) -> dict[int, str]:
        """Ids by key; keys that are no document are left out."""
        rows = self._in_batches("SELECT key, id FROM documents WHERE key IN ({})", keys)
        return {key: _text(document_id) for key, document_id in rows}

    def find(self, ids: Sequence[str]) -> list[StoredDocument]:
        """The documents with these ids, in no particular order; unknown ids are left out."""
        rows = self._in_batches("SELECT key, id, n_tokens FROM documents WHERE id IN ({})", ids)
        return [StoredDocument(key, _text(name), whole_number(n, "a number of tokens")) for key, name, n in rows]

    def documents(self, keys: Sequence[int]) -> dict[int, Document]:
        """Documents by key."""
        sql = f"SELECT {_CHECKED} FROM {_DOCUMENTS} WHERE d.key IN ({{}})"
        return {row[1]: _checked(*row) for row in self._in_batches(sql, keys)}

    def all_documents(self) -> Generator[tuple[int, Document], None, None]:
        """Every document with its key, in the order of the keys."""
        last = None
        for row in self.connection.execute(f"SELECT {_CHECKED} FROM {_DOCUMENTS} ORDER BY d.key"):
            if last is not None and row[1] <= last:
                raise _endless("documents")
            yield row[1], _checked(*row)
            last = row[1]

    @cached_property
    def has_pairs(self) -> bool:
        """Whether the full-text index holds characters of scripts without blanks as words of two; see ``folded``."""
        # not with the checksum of the state, which a write renews at its end
        (settings,) = self._row("SELECT settings FROM state")
        try:
            return IndexSettings.model_validate_json(settings).word_pairs
        except ValidationError as err:
            msg = f"{CATALOG}: the settings are not what colbert_rag writes: {err}. Restore the index from a backup."
            raise CorruptIndexError(msg) from err

    def matching(self, condition: Condition) -> list[int]:
        """Keys of the documents that a condition holds for, rising."""
        expression, values = to_sql(condition)
        # every value stands for a comparison, which may go through the table of attributes
        with work_bounded(self.connection, scans=1 + len(values)):
            rows = self.connection.execute(f"SELECT d.key FROM documents d WHERE {expression} ORDER BY d.key", values)
            return list(_rising(rows, "documents"))

    def bm25(self, query: str, limit: int, allowed: Collection[int] | None = None) -> list[tuple[int, float]]:
        """Keys and BM25 scores of the best documents for the words of a query, best first, ties by id.

        Args:
            query: Any text.
            limit: How many at most.
            allowed: Keys of the documents to rank; None for all.
        """
        words = words_of(query, self.has_pairs)
        if not words:
            return []
        sql = (
            "SELECT f.rowid, -bm25(fulltext) AS score FROM fulltext f JOIN documents d ON d.key = f.rowid "
            "WHERE fulltext MATCH ? ORDER BY score DESC, d.id"
        )
        rows = self.connection.execute(sql, (" OR ".join(f'"{word}"' for word in words),))
        found = [(key, score) for key, score in islice((r for r in rows if allowed is None or r[0] in allowed), limit)]
        rows.close()
        if not all(isinstance(score, float) and math.isfinite(score) for _, score in found):
            msg = "the full-text index gives scores that are no numbers. Restore the index from a backup."
            raise CorruptIndexError(msg)
        return found

    def content_rows(self) -> Iterator[tuple[Any, ...]]:
        """Checksum, key, and the columns of every document."""
        yield from self.connection.execute(f"SELECT {_CHECKED} FROM {_DOCUMENTS} ORDER BY d.key")

    def has_attributes(self, key: int, expected: Iterable[tuple[str, Any]]) -> bool:
        """Whether a document is filtered by these names and values, types included."""
        sql = "SELECT value FROM attributes WHERE name = ? AND value = ? AND key = ?"
        # 1, 1.0 and -0.0, 0.0 are equal, and written differently
        return all(
            repr(self.connection.execute(sql, (name, value, key)).fetchone()) == repr((value,))
            for name, value in expected
        )

    def count_attributes(self) -> int:
        """Names and values of all documents."""
        (number,) = self.connection.execute("SELECT COUNT(*) FROM attributes").fetchone()
        return int(number)

    def _in_batches(self, sql: str, values: Sequence[int] | Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), _BATCH):
            batch = values[start : start + _BATCH]
            # whole: a reader that stops at damage must leave no statement open
            yield from self.connection.execute(sql.format(",".join("?" * len(batch))), batch).fetchall()


def whole_number(value: object, what: str) -> int:
    """A stored value that must be a whole number.

    Raises:
        CorruptIndexError: it is none; ``what`` says of which.
    """
    if not isinstance(value, int):
        msg = f"{what} is no whole number but {value!r:.80}. Restore the index from a backup."
        raise CorruptIndexError(msg)
    return value


def _checked(checksum: int, key: int, *columns: Any) -> Document:
    if content_checksum(key, *columns) != checksum:
        msg = f"{CATALOG}: document {columns[0]!r}: what is stored differs from what was committed (crc32)."
        raise CorruptIndexError(f"{msg} Restore the index from a backup.")
    return document_of(*columns)


def _text(value: object) -> str:
    if not isinstance(value, str):
        msg = f"an id is no text but {value!r:.80}. Restore the index from a backup."
        raise CorruptIndexError(msg)
    return value


def _rising(rows: Iterable[tuple[int]], table: str) -> Iterator[int]:
    """Keys as they are read; they fall where pages name each other in a circle, and memory would run out."""
    last = None
    for (key,) in rows:
        if last is not None and key <= last:
            raise _endless(table)
        yield key
        last = key


def _endless(table: str) -> CorruptIndexError:
    return CorruptIndexError(f"the rows of table {table} do not rise. Restore the index from a backup.")
