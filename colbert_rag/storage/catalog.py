"""The catalog: a SQLite database that is the only commit point of an index.

A reader works inside one read transaction and so sees exactly one commit; a writer holds SQLite's
write lock for the length of its transaction, which the operating system frees when it dies.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError, model_validator

from colbert_rag.errors import (
    CorruptIndexError,
    IndexClosedError,
    IndexLockedError,
    ReadOnlyIndexError,
    StorageError,
)
from colbert_rag.storage.access import CATALOG, CatalogFiles, may_write
from colbert_rag.storage.connection import CatalogConnection, check_format, connect, sqlite_errors
from colbert_rag.storage.forking import Identity, is_at, rests_at_forks
from colbert_rag.storage.full_text_record import check_full_text_record
from colbert_rag.storage.guards import check_files, check_pages, check_schema
from colbert_rag.storage.reading import Reading
from colbert_rag.storage.records import CodecRecord, FileRecord, IndexSettings, SegmentRecord
from colbert_rag.storage.system_errors import read_errors
from colbert_rag.storage.write_ahead_log import refuse_damaged_log
from colbert_rag.storage.writing import Writing

__all__ = ["Catalog", "CatalogState", "OvertakenError", "read_state"]

R = TypeVar("R")

_log = logging.getLogger(__name__)

# a writer has opened, folded or closed the index each time; while it stays open there are locks
_ATTEMPTS = 20
# and how long a reader goes on at least: writers who come and go every few milliseconds leave a gap in time
_OVERTAKEN_S = 30.0

# how long a try for the write lock waits, and whoever interrupts the process with it
_TRY_S = 0.1
_GUARD_S = 0.1

# a larger write-ahead log is folded into the catalog right after the commit that made it large
_MOST_LOG_BYTES = 4 << 20
# from this size on the writer waits a little for readers of the log to end, who may overlap without a gap
_MUCH_LOG_BYTES = 64 << 20
_WAIT_FOR_READERS_S = 1.0


class OvertakenError(StorageError):
    """The catalog changed while it was read without a lock: what was found may be of no commit."""


class CatalogState(BaseModel):
    """One commit: settings, codec, segments, and the number of the commit."""

    settings: IndexSettings
    codec: CodecRecord | None
    segments: tuple[SegmentRecord, ...]
    commits: int

    @property
    def folders(self) -> set[str]:
        """Names of the folders that belong to the commit."""
        names = {segment.name for segment in self.segments}
        return names if self.codec is None else names | {self.codec.name}

    @property
    def files(self) -> list[tuple[str, FileRecord]]:
        """Folder and record of every array file that belongs to the commit."""
        named = [(segment.name, record) for segment in self.segments for record in segment.files.values()]
        return named if self.codec is None else named + [(self.codec.name, r) for r in self.codec.files.values()]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> CatalogState:
        codec = None if self.codec is None else self.codec.name
        if any(segment.codec != codec for segment in self.segments):
            msg = f"a segment is packed with another codec than {codec!r}"
            raise ValueError(msg)
        if len({segment.name for segment in self.segments}) < len(self.segments):
            msg = "two segments have one name"
            raise ValueError(msg)
        return self


def read_state(reading: Reading, folder: Path) -> CatalogState:
    """The commit that a transaction on the catalog of a folder sees.

    Raises:
        CorruptIndexError: it is not what was committed, or a record is not what this library writes.
    """
    row, segments = reading.state_rows()
    try:
        return CatalogState(
            settings=IndexSettings.model_validate_json(row[0]),
            codec=None if row[1] is None else CodecRecord.model_validate_json(row[1]),
            segments=tuple(SegmentRecord.model_validate_json(record) for record in segments),
            commits=row[2],
        )
    except (ValidationError, json.JSONDecodeError) as err:
        msg = f"{folder / CATALOG}: a record is not what colbert_rag writes: {err}. Restore the index from a backup."
        raise CorruptIndexError(msg) from err


def _fold_log(connection: sqlite3.Connection, wait_s: float) -> None:
    """Fold the write-ahead log into the catalog, unless a reader needs it; what was committed stands either way."""
    with suppress(sqlite3.DatabaseError):
        connection.execute(f"PRAGMA busy_timeout = {int(wait_s * 1000)}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _end(connection: CatalogConnection) -> None:
    """Roll back what was not committed, and close.

    Closing alone rolls back no sooner than the last cursor is freed, which somebody may keep with a traceback.
    """
    if connection.is_own and connection.in_transaction:
        # where the disk fails SQLite has rolled back already
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
    connection.close()


class Catalog:
    """Gives read and write transactions on one index folder; safe to use from many threads.

    Raises:
        IndexNotFoundError: no catalog in the folder.
        CorruptIndexError: not a catalog of ours.
        UnsupportedFormatError: a newer format.
    """

    def __init__(self, folder: Path, *, read_only: bool = False, lock_timeout_s: float = 30.0) -> None:
        self.folder = folder
        self.read_only = read_only
        self.lock_timeout_s = lock_timeout_s
        self._process = os.getpid()
        self._guard = threading.Lock()
        self._idle: list[CatalogConnection] = []
        self._is_closed = False
        # number of a commit, and of its documents
        self._counted = (-1, 0)
        self._identity: Identity | None = None
        rests_at_forks(self)
        with read_errors(folder / CATALOG):
            if (folder / CATALOG).is_file():
                # the log may be a link that leads elsewhere, or a pipe that never ends
                check_files(folder / CATALOG)
                refuse_damaged_log(folder / (CATALOG + "-wal"))
        self.read(self._check)

    def _check(self, reading: Reading) -> None:
        check_format(reading.connection, self.folder)
        check_schema(reading.connection, self.folder / CATALOG)
        check_full_text_record(reading.connection, self.folder / CATALOG)

    def close(self) -> None:
        """Close every idle connection; one that is in use closes when its transaction ends."""
        if self.is_inherited:
            return
        with self._guard:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __del__(self) -> None:
        # whoever else refers to a connection, as a cursor in a traceback does, must not keep it open
        for connection in getattr(self, "_idle", ()):
            connection.close()

    def rest(self) -> None:
        """Close every idle connection; the next call opens one."""
        # who forks while another thread holds the guard does not wait for it
        if self.is_inherited or not self._guard.acquire(timeout=_GUARD_S):
            return
        try:
            idle, self._idle = self._idle, []
        finally:
            self._guard.release()
        for connection in idle:
            connection.close()

    def read(self, work: Callable[[Reading], R]) -> R:
        """What ``work`` returns in one read transaction; all that it reads belongs to one commit.

        Who may not write to the folder reads without a lock while no writer is there. If one comes and changes the
        catalog, ``work`` is called again.
        """
        end = time.monotonic() + _OVERTAKEN_S
        for attempt in count(1):
            try:
                with self.reading() as reading:
                    return work(reading)
            except OvertakenError:
                if attempt >= _ATTEMPTS and time.monotonic() >= end:
                    raise
        raise AssertionError("unreachable")

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """One read transaction: everything read inside belongs to one commit.

        Raises:
            OvertakenError: it does not, and must be read again; see :meth:`read`.
        """
        before = CatalogFiles.of(self.folder)
        msg = f"{self.folder}: a writer changed the index while it was read without write access, time and again."
        try:
            with self._transaction(before) as reading:
                yield reading
        except Exception as err:
            if before.is_overtaken(self.folder):
                raise OvertakenError(f"{msg} Repeat.") from err
            raise
        if not reading.is_whole():
            raise OvertakenError(f"{msg} Repeat.")

    @contextmanager
    def _transaction(self, before: CatalogFiles) -> Iterator[Reading]:
        connection = self._take()
        reading = Reading(connection, partial(before.stand, self.folder) if connection.is_immutable else None)
        try:
            with sqlite_errors(self.folder):
                reading.connection.execute("BEGIN")
                try:
                    yield reading
                finally:
                    # where the disk fails SQLite ends it, and says no more than that there is none
                    if not self.is_inherited and reading.connection.in_transaction:
                        reading.connection.execute("ROLLBACK")
        except BaseException:
            connection.close()
            raise
        self._give_back(connection)

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """One write transaction: committed at the end of the block, rolled back on any exception.

        Raises:
            IndexLockedError: another writer holds the index for longer than the timeout.
            ReadOnlyIndexError: the index is open for reading only.
        """
        self.check_usable()
        if self.read_only or not may_write(self.folder):
            msg = f"{self.folder}: the index is open for reading only. Open it without read_only, with write access."
            raise ReadOnlyIndexError(msg)
        connection = connect(self.folder, write=True, timeout_s=_TRY_S, expected=self._identity)
        try:
            with sqlite_errors(self.folder):
                self._locking(connection, "BEGIN IMMEDIATE")
                writing = Writing(connection)
                yield writing
                writing.seal()
                connection.execute("COMMIT")
            size = self._log_bytes()
            if size > _MOST_LOG_BYTES:
                _fold_log(connection, _WAIT_FOR_READERS_S if size > _MUCH_LOG_BYTES else 0.0)
        finally:
            _end(connection)

    def supersede(self, writing: Writing) -> None:
        """Commit nothing and begin again: what others left in the log behind the newest commit is no commit then.

        Raises:
            IndexLockedError: another writer came between, and holds the index for longer than the timeout.
        """
        writing.commit_nothing()
        self._locking(writing.connection, "BEGIN IMMEDIATE")

    def _locking(self, connection: sqlite3.Connection, sql: str) -> None:
        """Run what takes the write lock, in short tries: SQLite waits without looking for an interrupt."""
        end = time.monotonic() + self.lock_timeout_s
        while True:
            try:
                connection.execute(sql)
            except sqlite3.OperationalError as err:
                if "locked" not in str(err) or time.monotonic() >= end:
                    raise
            else:
                return

    def _log_bytes(self) -> int:
        log = self.folder / (CATALOG + "-wal")
        return log.stat().st_size if log.exists() else 0

    def vacuum(self) -> None:
        """Give the space of deleted rows back to the file system; commits nothing."""
        try:
            connection = connect(self.folder, write=True, timeout_s=_TRY_S, expected=self._identity)
            try:
                with sqlite_errors(self.folder):
                    check_pages(connection, self.folder / CATALOG)
                    self._locking(connection, "VACUUM")
                _fold_log(connection, _WAIT_FOR_READERS_S)
            finally:
                connection.close()
        except (IndexLockedError, StorageError) as err:
            # the compaction stands; only its space is given back later
            _log.warning("%s: could not shrink the catalog now: %s", self.folder, err)

    def state(self, reading: Reading) -> CatalogState:
        """The commit that a transaction sees.

        Raises:
            CorruptIndexError: as :func:`read_state` says.
        """
        return read_state(reading, self.folder)

    def count(self, reading: Reading) -> int:
        """Number of documents, from what the segments hold, kept for the commit; ``verify`` compares it with the rows.

        Raises:
            CorruptIndexError: the state or the tombstones are not what was committed.
        """
        commits = reading.commits()
        known, number = self._counted
        if known == commits:
            return number
        held = sum(segment.n_documents for segment in self.state(reading).segments)
        n_deleted = len(reading.tombstones())
        if n_deleted > held:
            msg = f"{self.folder / CATALOG}: {n_deleted:,} of {held:,} documents are deleted. Restore a backup."
            raise CorruptIndexError(msg)
        if reading.is_whole():
            self._counted = (commits, held - n_deleted)
        return held - n_deleted

    def _take(self) -> CatalogConnection:
        self.check_usable()
        with self._guard:
            idle = self._idle.pop() if self._idle else None
        if idle is not None:
            if is_at(self.folder / CATALOG, self._identity):
                return idle
            # SQLite would go on reading the file that was deleted; opening says what lies there now
            idle.close()
        connection = connect(self.folder, write=False, timeout_s=self.lock_timeout_s, expected=self._identity)
        if self._identity is None and connection.use is not None:
            self._identity = connection.use.identity
        return connection

    def _give_back(self, connection: CatalogConnection) -> None:
        if self.is_inherited:
            return
        with self._guard:
            # an immutable view would never see a later commit, so it serves one transaction only
            if not self._is_closed and not connection.is_immutable:
                self._idle.append(connection)
                return
        connection.close()

    def check_process(self) -> None:
        """Refuse to go on in a forked child.

        Raises:
            IndexClosedError: this is one.
        """
        if self.is_inherited:
            msg = f"{self.folder}: this index was opened before the process forked. Open it again in the child."
            raise IndexClosedError(msg)

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child of the process that opened the index; its locks may be held for ever."""
        return self._process != os.getpid()

    def check_usable(self) -> None:
        """Refuse to go on after :meth:`close` and in a forked child.

        Raises:
            IndexClosedError: saying which.
        """
        self.check_process()
        if self._is_closed:
            msg = f"{self.folder}: the index is closed. Open it again with Index.open({str(self.folder)!r})."
            raise IndexClosedError(msg)
