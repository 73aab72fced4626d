"""What can be read and written inside a catalog transaction."""

from __future__ import annotations

import math
import re
import sqlite3
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from colbert_rag.errors import CorruptIndexError
from colbert_rag.filters import Condition, attributes, to_sql
from colbert_rag.storage.connection import CATALOG
from colbert_rag.storage.records import CodecRecord, IndexSettings, SegmentRecord
from colbert_rag.storage.rows import (
    CONTENT_COLUMNS,
    StoredDocument,
    content_checksum,
    content_of,
    document_of,
    keys_checksum,
    row_checksum,
)
from colbert_rag.storage.schema import FORMAT_VERSION
from colbert_rag.types import Document

__all__ = ["Reading", "Writing", "folded", "words_of"]

# SQLite binds 32,766 values at most; smaller statements are cached better
_BATCH = 500
# words as FTS5's unicode61 cuts them: letters and digits, with the combining marks that it folds away
_WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u0331])*")
# FTS5 joins that many words with OR in well under a millisecond each
_QUERY_WORDS = 256
# a document without content must not be left out, but be found damaged
_DOCUMENTS = "documents d LEFT JOIN content c ON c.key = d.key"
_LAST_KEY = 2**62
# JSON takes many times its length when it is parsed; ours has some thousand characters
_MOST_RECORD = 1 << 20
# each is worth reading by itself when the segments' rows are damaged, so their checksum is one of them
STATE_COLUMNS = "settings, codec, commits, next_key, tombstones, segments"
_CHECKED = f"c.checksum, {CONTENT_COLUMNS}"


def words_of(query: str) -> list[str]:
    """The different words of a query, as the full-text index cuts them."""
    return list(dict.fromkeys(_WORD.findall(folded(query))))[:_QUERY_WORDS]


def folded(text: str) -> str:
    """Text as it is given to FTS5, whose tables of letters are older than Python's: one case, one composition."""
    return unicodedata.normalize("NFC", text.lower())


def _checked(checksum: int, key: int, *columns: Any) -> Document:
    if content_checksum(key, *columns) != checksum:
        msg = f"{CATALOG}: document {columns[0]!r}: what is stored differs from what was committed (crc32)."
        raise CorruptIndexError(f"{msg} Restore the index from a backup.")
    return document_of(*columns)


def _whole(value: object, what: str) -> int:
    if not isinstance(value, int):
        msg = f"{what} is no whole number but {value!r:.80}. Restore the index from a backup."
        raise CorruptIndexError(msg)
    return value


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


class Reading:
    """Queries on one commit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def commits(self) -> int:
        """Number of the commit that is seen."""
        (number,) = self._row("SELECT commits FROM state")
        return _whole(number, "the number of the commit")

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
        if any(len(record) > _MOST_RECORD for record in (*row[:2], *records) if isinstance(record, str)):
            msg = f"a record takes more than {_MOST_RECORD:,} characters of JSON. Restore the index from a backup."
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
        return documents, _whole(tokens, "a number of tokens"), _whole(text_bytes, "the size of a text")

    def count(self) -> int:
        """Number of documents."""
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
        return [StoredDocument(key, _text(name), _whole(n, "a number of tokens")) for key, name, n in rows]

    def documents(self, keys: Sequence[int]) -> dict[int, Document]:
        """Documents by key."""
        sql = f"SELECT {_CHECKED} FROM {_DOCUMENTS} WHERE d.key IN ({{}})"
        return {row[1]: _checked(*row) for row in self._in_batches(sql, keys)}

    def all_documents(self) -> Iterator[tuple[int, Document]]:
        """Every document with its key, in the order of the keys."""
        last = None
        for row in self.connection.execute(f"SELECT {_CHECKED} FROM {_DOCUMENTS} ORDER BY d.key"):
            if last is not None and row[1] <= last:
                raise _endless("documents")
            yield row[1], _checked(*row)
            last = row[1]

    def matching(self, condition: Condition) -> list[int]:
        """Keys of the documents that a condition holds for, rising."""
        expression, values = to_sql(condition)
        rows = self.connection.execute(f"SELECT d.key FROM documents d WHERE {expression} ORDER BY d.key", values)
        return list(_rising(rows, "documents"))

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


class Writing(Reading):
    """Changes of one write transaction; it is a commit only when it is sealed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._has_other_tombstones = False

    def tombstones(self) -> list[int]:
        """As in :class:`Reading`, with what this transaction has changed."""
        return self._tombstones() if self._has_other_tombstones else super().tombstones()

    def _before_changing_tombstones(self) -> None:
        # damage must not be signed as if it were ours
        self.tombstones()
        self._has_other_tombstones = True

    def initialise(self, settings: IndexSettings) -> None:
        """Write the state of an index that holds nothing yet."""
        row = (settings.model_dump_json(exclude_defaults=True), None, 0, 1)
        columns = f"only, {STATE_COLUMNS}, checksum"
        sql = f"INSERT INTO state ({columns}) VALUES (1, ?, ?, ?, ?, 0, 0, 0)"
        self.connection.execute(sql, row)
        self._sign()

    def seal(self) -> None:
        """Number the commit and renew the checksums of its state."""
        self.connection.execute("UPDATE state SET commits = commits + 1")
        self._sign()

    def _sign(self) -> None:
        if self._has_other_tombstones:
            self.connection.execute("UPDATE state SET tombstones = ?", (keys_checksum(self._tombstones()),))
        segments = row_checksum(*chain.from_iterable(self._segment_rows()))
        self.connection.execute("UPDATE state SET segments = ?", (segments,))
        checksum = row_checksum(*self._row(f"SELECT {STATE_COLUMNS} FROM state"))
        self.connection.execute("UPDATE state SET checksum = ?", (checksum,))

    def supersede(self) -> None:
        """Commit nothing and begin again: what others left in the log behind the newest commit is no commit then."""
        # the least that SQLite writes though nothing changes
        self.connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        self.connection.execute("COMMIT")
        self.connection.execute("BEGIN IMMEDIATE")

    def take_keys(self, count: int) -> range:
        """Reserve keys for new documents; a key is never used twice."""
        first = _whole(self._row("SELECT next_key FROM state")[0], "the next key")
        if not 0 < first <= _LAST_KEY - count:
            msg = f"the next key is {first:,}, expected 1 to {_LAST_KEY - count:,}. Restore the index from a backup."
            raise CorruptIndexError(msg)
        self.connection.execute("UPDATE state SET next_key = ?", (first + count,))
        return range(first, first + count)

    def add_documents(self, rows: Iterable[tuple[int, Document, int]]) -> None:
        """Insert documents: key, document, number of tokens."""
        execute = self.connection.execute
        for key, document, n_tokens in rows:
            heading, text, metadata, extra = content = content_of(document)
            size = len(heading.encode()) + len(text.encode())
            checksum = content_checksum(key, document.id, document.ref_id, *content)
            execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?)", (key, document.id, document.ref_id, n_tokens, size))
            execute("INSERT INTO content VALUES (?, ?, ?, ?, ?, ?)", (key, heading, text, metadata, extra, checksum))
            words = (key, folded(heading), folded(text))
            execute("INSERT INTO fulltext (rowid, heading, text) VALUES (?, ?, ?)", words)
            named = ((name, value, key) for name, value in attributes(document.metadata))
            self.connection.executemany("INSERT INTO attributes VALUES (?, ?, ?)", named)

    def remove_documents(self, documents: Iterable[StoredDocument]) -> None:
        """Delete documents and leave tombstones for their vectors."""
        self._before_changing_tombstones()
        execute = self.connection.execute
        for stored in documents:
            key = (stored.key,)
            for document in self.documents(key).values():
                named = ((name, value, *key) for name, value in attributes(document.metadata))
                sql = "DELETE FROM attributes WHERE name = ? AND value = ? AND key = ?"
                self.connection.executemany(sql, named)
                words = (*key, folded(document.heading), folded(document.text))
                execute("INSERT INTO fulltext (fulltext, rowid, heading, text) VALUES ('delete', ?, ?, ?)", words)
            execute("DELETE FROM content WHERE key = ?", key)
            execute("DELETE FROM documents WHERE key = ?", key)
            execute("INSERT INTO tombstones VALUES (?)", key)

    def bury(self, keys: Iterable[int]) -> None:
        """Leave tombstones for vectors that belong to no document."""
        self._before_changing_tombstones()
        self.connection.executemany("INSERT INTO tombstones VALUES (?)", ((key,) for key in keys))

    def add_segment(self, record: SegmentRecord) -> None:
        """Name a segment whose files are durable."""
        self.connection.execute("INSERT INTO segments VALUES (?, ?)", (record.name, record.model_dump_json()))

    def replace_segments(self, old: Iterable[str], new: SegmentRecord | None, dropped: Iterable[int]) -> None:
        """Drop merged segments and the tombstones of the documents that went with them."""
        self._before_changing_tombstones()
        names = [(name,) for name in old]
        if self.connection.executemany("DELETE FROM segments WHERE name = ?", names).rowcount != len(names):
            msg = "segments are kept under other names than their own. Restore the index from a backup."
            raise CorruptIndexError(msg)
        self.connection.executemany("DELETE FROM tombstones WHERE key = ?", ((key,) for key in dropped))
        if new is not None:
            self.add_segment(new)

    def set_codec(self, record: CodecRecord) -> None:
        """Name the codec that all segments are packed with."""
        self.connection.execute("UPDATE state SET codec = ?", (record.model_dump_json(),))

    def optimise(self) -> None:
        """Merge the full-text index into one structure."""
        self.connection.execute("INSERT INTO fulltext (fulltext) VALUES ('optimize')")
