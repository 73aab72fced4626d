"""What can be read and written inside a catalog transaction."""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from colbert_rag.errors import CorruptIndexError
from colbert_rag.filters import Condition, attributes, to_sql
from colbert_rag.storage.records import CodecRecord, SegmentRecord
from colbert_rag.storage.rows import CONTENT_COLUMNS, StoredDocument, content_checksum, content_of, document_of
from colbert_rag.types import Document

__all__ = ["Reading", "Writing", "words_of"]

# SQLite binds 32,766 values at most; smaller statements are cached better
_BATCH = 500
# words as FTS5's unicode61 cuts them: letters and digits, with the combining marks that it folds away
_WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u0331])*")
# FTS5 joins that many words with OR in well under a millisecond each
_QUERY_WORDS = 256
_DOCUMENTS = "documents d JOIN content c ON c.key = d.key"


def words_of(query: str) -> list[str]:
    """The different words of a query, as the full-text index cuts them."""
    return list(dict.fromkeys(_WORD.findall(_folded(query))))[:_QUERY_WORDS]


def _folded(text: str) -> str:
    """Text as it is given to FTS5, whose tables of letters are older than Python's: one case, one composition."""
    return unicodedata.normalize("NFC", text.lower())


class Reading:
    """Queries on one commit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def commits(self) -> int:
        """Number of the commit that is seen."""
        (number,) = self._row("SELECT commits FROM state")
        return int(number)

    def state_rows(self) -> tuple[tuple[str, str | None, int], list[str]]:
        """Settings, codec and commit number as stored, and every segment record."""
        row = self._row("SELECT settings, codec, commits FROM state")
        records = self.connection.execute("SELECT record FROM segments ORDER BY name").fetchall()
        return (row[0], row[1], row[2]), [record for (record,) in records]

    def _row(self, sql: str) -> tuple[Any, ...]:
        row = self.connection.execute(sql).fetchone()
        if row is None:
            msg = "the catalog has lost its state row. Restore the index from a backup."
            raise CorruptIndexError(msg)
        found: tuple[Any, ...] = row
        return found

    def tombstones(self) -> list[int]:
        """Keys of the documents that are deleted but still in their segments, rising."""
        return [key for (key,) in self.connection.execute("SELECT key FROM tombstones ORDER BY key")]

    def totals(self) -> tuple[int, int, int]:
        """Documents, their tokens, the bytes of their texts."""
        sql = "SELECT COUNT(*), COALESCE(SUM(n_tokens), 0), COALESCE(SUM(text_bytes), 0) FROM documents"
        documents, tokens, text_bytes = self.connection.execute(sql).fetchone()
        return documents, tokens, text_bytes

    def count(self) -> int:
        """Number of documents."""
        (number,) = self.connection.execute("SELECT COUNT(*) FROM documents").fetchone()
        return int(number)

    def ids(self) -> Iterator[str]:
        """Every id, rising."""
        for (document_id,) in self.connection.execute("SELECT id FROM documents ORDER BY id"):
            yield document_id

    def ids_of(self, keys: Sequence[int]) -> dict[int, str]:
        """Ids by key; keys that are no document are left out."""
        return dict(self._in_batches("SELECT key, id FROM documents WHERE key IN ({})", keys))

    def find(self, ids: Sequence[str]) -> list[StoredDocument]:
        """The documents with these ids, in no particular order; unknown ids are left out."""
        rows = self._in_batches("SELECT key, id, n_tokens FROM documents WHERE id IN ({})", ids)
        return [StoredDocument(*row) for row in rows]

    def documents(self, keys: Sequence[int]) -> dict[int, Document]:
        """Documents by key."""
        sql = f"SELECT {CONTENT_COLUMNS} FROM {_DOCUMENTS} WHERE d.key IN ({{}})"
        return {key: document_of(*columns) for key, *columns in self._in_batches(sql, keys)}

    def all_documents(self) -> Iterator[tuple[int, Document]]:
        """Every document with its key, in the order of the keys."""
        for key, *columns in self.connection.execute(f"SELECT {CONTENT_COLUMNS} FROM {_DOCUMENTS} ORDER BY d.key"):
            yield key, document_of(*columns)

    def matching(self, condition: Condition) -> list[int]:
        """Keys of the documents that a condition holds for, rising."""
        expression, values = to_sql(condition)
        rows = self.connection.execute(f"SELECT d.key FROM documents d WHERE {expression} ORDER BY d.key", values)
        return [key for (key,) in rows]

    def bm25(self, query: str, limit: int, allowed: Collection[int] | None = None) -> list[tuple[int, float]]:
        """Keys and BM25 scores of the best documents for the words of a query, best first, ties by id.

        Args:
            query: Any text.
            limit: How many at most.
            allowed: Keys of the documents to rank; None for all.
        """
        words = words_of(query)
        if not words:
            return []
        sql = (
            "SELECT f.rowid, -bm25(fulltext) AS score FROM fulltext f JOIN documents d ON d.key = f.rowid "
            "WHERE fulltext MATCH ? ORDER BY score DESC, d.id"
        )
        rows = self.connection.execute(sql, (" OR ".join(f'"{word}"' for word in words),))
        found = [(key, score) for key, score in islice((r for r in rows if allowed is None or r[0] in allowed), limit)]
        rows.close()
        return found

    def content_rows(self) -> Iterator[tuple[Any, ...]]:
        """Checksum, key, and the columns of every document."""
        yield from self.connection.execute(f"SELECT c.checksum, {CONTENT_COLUMNS} FROM {_DOCUMENTS}")

    def has_attributes(self, key: int, expected: Iterable[tuple[str, Any]]) -> bool:
        """Whether a document is filtered by these names and values, types included."""
        sql = "SELECT typeof(value) = typeof(?2) FROM attributes WHERE name = ?1 AND value = ?2 AND key = ?3"
        rows = (self.connection.execute(sql, (name, value, key)).fetchone() for name, value in expected)
        return all(row == (1,) for row in rows)

    def count_attributes(self) -> int:
        """Names and values of all documents."""
        (number,) = self.connection.execute("SELECT COUNT(*) FROM attributes").fetchone()
        return int(number)

    def _in_batches(self, sql: str, values: Sequence[int] | Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(values), _BATCH):
            batch = values[start : start + _BATCH]
            yield from self.connection.execute(sql.format(",".join("?" * len(batch))), batch)


class Writing(Reading):
    """Changes of one write transaction."""

    def take_keys(self, count: int) -> range:
        """Reserve keys for new documents; a key is never used twice."""
        (first,) = self.connection.execute("SELECT next_key FROM state").fetchone()
        self.connection.execute("UPDATE state SET next_key = ?", (first + count,))
        return range(first, first + count)

    def add_documents(self, rows: Iterable[tuple[int, Document, int]]) -> None:
        """Insert documents: key, document, number of tokens."""
        execute = self.connection.execute
        for key, document, n_tokens in rows:
            heading, text, metadata, extra = content = content_of(document)
            size = len(heading.encode()) + len(text.encode())
            checksum = content_checksum(document.id, document.ref_id, *content)
            execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?)", (key, document.id, document.ref_id, n_tokens, size))
            execute("INSERT INTO content VALUES (?, ?, ?, ?, ?, ?)", (key, heading, text, metadata, extra, checksum))
            words = (key, _folded(heading), _folded(text))
            execute("INSERT INTO fulltext (rowid, heading, text) VALUES (?, ?, ?)", words)
            named = ((name, value, key) for name, value in attributes(document.metadata))
            self.connection.executemany("INSERT INTO attributes VALUES (?, ?, ?)", named)

    def remove_documents(self, documents: Iterable[StoredDocument]) -> None:
        """Delete documents and leave tombstones for their vectors."""
        execute = self.connection.execute
        for stored in documents:
            key = (stored.key,)
            for document in self.documents(key).values():
                named = ((name, value, *key) for name, value in attributes(document.metadata))
                sql = "DELETE FROM attributes WHERE name = ? AND value = ? AND key = ?"
                self.connection.executemany(sql, named)
                words = (*key, _folded(document.heading), _folded(document.text))
                execute("INSERT INTO fulltext (fulltext, rowid, heading, text) VALUES ('delete', ?, ?, ?)", words)
            execute("DELETE FROM content WHERE key = ?", key)
            execute("DELETE FROM documents WHERE key = ?", key)
            execute("INSERT INTO tombstones VALUES (?)", key)

    def add_segment(self, record: SegmentRecord) -> None:
        """Name a segment whose files are durable."""
        self.connection.execute("INSERT INTO segments VALUES (?, ?)", (record.name, record.model_dump_json()))

    def replace_segments(self, old: Iterable[str], new: SegmentRecord | None, dropped: Iterable[int]) -> None:
        """Drop merged segments and the tombstones of the documents that went with them."""
        self.connection.executemany("DELETE FROM segments WHERE name = ?", ((name,) for name in old))
        self.connection.executemany("DELETE FROM tombstones WHERE key = ?", ((key,) for key in dropped))
        if new is not None:
            self.add_segment(new)

    def set_codec(self, record: CodecRecord) -> None:
        """Name the codec that all segments are packed with."""
        self.connection.execute("UPDATE state SET codec = ?", (record.model_dump_json(),))

    def optimise(self) -> None:
        """Merge the full-text index into one structure."""
        self.connection.execute("INSERT INTO fulltext (fulltext) VALUES ('optimize')")
