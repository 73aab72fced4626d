"""What can be read and written inside a catalog transaction."""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from colbert_rag.errors import CorruptIndexError
from colbert_rag.storage.records import CodecRecord, SegmentRecord
from colbert_rag.types import Document

__all__ = ["Reading", "StoredDocument", "Writing", "content_checksum"]

# SQLite binds 32,766 values at most; smaller statements are cached better
_BATCH = 500
# words as FTS5's unicode61 cuts them; a "word" with a separator inside would be a phrase, which detail=none refuses.
# The ranges are letters since Unicode 8, marks in the older tables of SQLite
_WORD = re.compile(r"[^\W_\u19b0-\u19c9\u1cf2\u1cf3]+")
# FTS5 joins that many words with OR in well under a millisecond each
_QUERY_WORDS = 256


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document's row of ``documents``."""

    key: int
    id: str
    n_tokens: int


def content_checksum(document_id: str, text: str, metadata: str) -> int:
    """CRC-32 over what a user stored, kept beside it so that ``verify`` finds a changed byte."""
    value = zlib.crc32(document_id.encode())
    value = zlib.crc32(b"\0" + text.encode(), value)
    return zlib.crc32(b"\0" + metadata.encode(), value)


def _parsed(document_id: str, metadata: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(metadata)
    except ValueError as err:
        msg = f"document {document_id!r}: the stored metadata is not JSON ({err}). Restore the index from a backup."
        raise CorruptIndexError(msg) from err
    return found


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
        tables = "documents d JOIN content c ON c.key = d.key"
        sql = f"SELECT d.key, d.id, c.text, c.metadata FROM {tables} WHERE d.key IN ({{}})"
        return {
            key: Document(document_id, text, _parsed(document_id, metadata))
            for key, document_id, text, metadata in self._in_batches(sql, keys)
        }

    def bm25(self, query: str, limit: int) -> list[tuple[int, float]]:
        """Keys and BM25 scores of the best documents for the words of a query, best first, ties by id."""
        words = list(dict.fromkeys(_WORD.findall(unicodedata.normalize("NFC", query.lower()))))[:_QUERY_WORDS]
        if not words:
            return []
        sql = (
            "SELECT f.rowid, -bm25(fulltext) AS score FROM fulltext f JOIN documents d ON d.key = f.rowid "
            "WHERE fulltext MATCH ? ORDER BY score DESC, d.id LIMIT ?"
        )
        match = " OR ".join(f'"{word}"' for word in words)
        return self.connection.execute(sql, (match, limit)).fetchall()

    def content_rows(self) -> Iterator[tuple[int, str, str, str, int]]:
        """Key, id, text, metadata JSON and checksum of every document."""
        sql = "SELECT d.key, d.id, c.text, c.metadata, c.checksum FROM documents d JOIN content c ON c.key = d.key"
        yield from self.connection.execute(sql)

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

    def add_documents(self, rows: Iterable[tuple[int, Document, str, int]]) -> None:
        """Insert documents: key, document, metadata as JSON, number of tokens."""
        for key, document, metadata, n_tokens in rows:
            size = len(document.text.encode())
            self.connection.execute("INSERT INTO documents VALUES (?, ?, ?, ?)", (key, document.id, n_tokens, size))
            checksum = content_checksum(document.id, document.text, metadata)
            self.connection.execute("INSERT INTO content VALUES (?, ?, ?, ?)", (key, document.text, metadata, checksum))
            self.connection.execute("INSERT INTO fulltext (rowid, text) VALUES (?, ?)", (key, document.text))

    def remove_documents(self, documents: Iterable[StoredDocument]) -> None:
        """Delete documents and leave tombstones for their vectors."""
        for document in documents:
            self.connection.execute(
                "INSERT INTO fulltext (fulltext, rowid, text) SELECT 'delete', key, text FROM content WHERE key = ?",
                (document.key,),
            )
            self.connection.execute("DELETE FROM content WHERE key = ?", (document.key,))
            self.connection.execute("DELETE FROM documents WHERE key = ?", (document.key,))
            self.connection.execute("INSERT INTO tombstones VALUES (?)", (document.key,))

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
