"""What can be written inside a catalog transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from itertools import chain

from colbert_rag.errors import CorruptIndexError
from colbert_rag.filters import attributes
from colbert_rag.storage.full_text import folded
from colbert_rag.storage.reading import STATE_COLUMNS, Reading, whole_number
from colbert_rag.storage.records import CodecRecord, IndexSettings, SegmentRecord
from colbert_rag.storage.rows import StoredDocument, content_checksum, content_of, keys_checksum, row_checksum
from colbert_rag.storage.schema import FORMAT_VERSION
from colbert_rag.types import Document

__all__ = ["Writing"]

_LAST_KEY = 2**62


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

    def commit_nothing(self) -> None:
        """End the transaction with a commit that changes nothing; it is the newest one in the log all the same."""
        # the least that SQLite writes though nothing changes
        self.connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        self.connection.execute("COMMIT")

    def take_keys(self, count: int) -> range:
        """Reserve keys for new documents; a key is never used twice."""
        first = whole_number(self._row("SELECT next_key FROM state")[0], "the next key")
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
            words = (key, folded(heading, self.has_pairs), folded(text, self.has_pairs))
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
                heading, text = (folded(part, self.has_pairs) for part in (document.heading, document.text))
                execute(
                    "INSERT INTO fulltext (fulltext, rowid, heading, text) VALUES ('delete', ?, ?, ?)",
                    (*key, heading, text),
                )
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
        self.connection.execute("UPDATE state SET codec = ?", (record.model_dump_json(exclude_defaults=True),))

    def optimise(self) -> None:
        """Merge the full-text index into one structure."""
        self.connection.execute("INSERT INTO fulltext (fulltext) VALUES ('optimize')")
