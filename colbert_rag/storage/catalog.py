"""The catalog: a SQLite database that is the only commit point of an index.

A reader works inside one read transaction and so sees exactly one commit; a writer holds SQLite's
write lock for the length of its transaction, which the operating system frees when it dies.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError, model_validator

from colbert_rag.errors import CorruptIndexError, IndexClosedError, IndexExistsError, ReadOnlyIndexError
from colbert_rag.storage.connection import CATALOG, IMMUTABLE, access_mode, check_format, connect, sqlite_errors
from colbert_rag.storage.files import sync_folder
from colbert_rag.storage.records import CodecRecord, IndexSettings, SegmentRecord
from colbert_rag.storage.schema import SCHEMA
from colbert_rag.storage.transactions import Reading, Writing

__all__ = ["Catalog", "CatalogState", "create_catalog"]


_log = logging.getLogger(__name__)

# a larger write-ahead log is folded into the catalog right after the commit that made it large
_MOST_LOG_BYTES = 4 << 20
# what an interrupted creation leaves
_UNFINISHED = CATALOG + ".new"


class CatalogState(BaseModel):
    """One commit: settings, codec, segments, and the number of the commit."""

    settings: IndexSettings
    codec: CodecRecord | None
    segments: tuple[SegmentRecord, ...]
    commits: int

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


def create_catalog(folder: Path, settings: IndexSettings) -> None:
    """Create an empty index in a folder that is new or empty; the catalog's name appears last.

    Raises:
        IndexExistsError: the folder is not empty.
        OSError: the folder cannot be written.
    """
    path = folder / CATALOG
    building = folder / f"{_UNFINISHED}-{secrets.token_hex(8)}"
    _make_empty_folder(folder)
    with sqlite_errors(folder):
        connection = sqlite3.connect(building, isolation_level=None)
        try:
            connection.executescript(SCHEMA)
            record = settings.model_dump_json(exclude_defaults=True)
            connection.execute("INSERT INTO state VALUES (1, ?, NULL, 0, 1)", (record,))
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        finally:
            connection.close()
    with building.open("rb+") as file:
        os.fsync(file.fileno())
    _publish(building, path)
    sync_folder(folder)


def _publish(building: Path, path: Path) -> None:
    """Give the catalog its name; the second of two creators is refused, whatever the timing."""
    try:
        os.link(building, path)
    except FileExistsError as err:
        msg = f"{path.parent}: another process has just created an index here. Open it with Index.open."
        raise IndexExistsError(msg) from err
    except OSError:  # a file system without hard links
        building.rename(path)
    finally:
        building.unlink(missing_ok=True)


def _make_empty_folder(folder: Path) -> None:
    if (folder / CATALOG).exists():
        msg = f"{folder}: there is an index here already. Open it with Index.open({str(folder)!r})."
        raise IndexExistsError(msg)
    if folder.exists() and not (folder.is_dir() and all(p.name.startswith(_UNFINISHED) for p in folder.iterdir())):
        msg = f"{folder}: exists and is not an empty folder. Choose another path for the index."
        raise IndexExistsError(msg)
    folder.mkdir(parents=True, exist_ok=True)


def _fold_log(connection: sqlite3.Connection) -> None:
    """Fold the write-ahead log into the catalog, unless a reader needs it; what was committed stands either way."""
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


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
        self._idle: list[Reading] = []
        self._is_closed = False
        connection = connect(folder, write=False, timeout_s=lock_timeout_s)
        try:
            check_format(connection, folder)
        except BaseException:
            connection.close()
            raise
        self._give_back(Reading(connection))

    def close(self) -> None:
        """Close every idle connection; one that is in use closes when its transaction ends."""
        with self._guard:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for reading in idle:
            reading.connection.close()

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """One read transaction: everything read inside belongs to one commit."""
        reading = self._take()
        try:
            with sqlite_errors(self.folder):
                reading.connection.execute("BEGIN")
                try:
                    yield reading
                finally:
                    reading.connection.execute("ROLLBACK")
        except BaseException:
            reading.connection.close()
            raise
        self._give_back(reading)

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """One write transaction: committed at the end of the block, rolled back on any exception.

        Raises:
            IndexLockedError: another writer holds the index for longer than the timeout.
            ReadOnlyIndexError: the index is open for reading only.
        """
        self.check_usable()
        if self.read_only or not os.access(self.folder / CATALOG, os.W_OK):
            msg = f"{self.folder}: the index is open for reading only. Open it without read_only, with write access."
            raise ReadOnlyIndexError(msg)
        connection = connect(self.folder, write=True, timeout_s=self.lock_timeout_s)
        try:
            with sqlite_errors(self.folder):
                connection.execute("BEGIN IMMEDIATE")
                yield Writing(connection)
                connection.execute("UPDATE state SET commits = commits + 1")
                connection.execute("COMMIT")
            if self._log_bytes() > _MOST_LOG_BYTES:
                _fold_log(connection)
        finally:
            # closing rolls back what was not committed
            connection.close()

    def _log_bytes(self) -> int:
        log = self.folder / (CATALOG + "-wal")
        return log.stat().st_size if log.exists() else 0

    def vacuum(self) -> None:
        """Give the space of deleted rows back to the file system; commits nothing."""
        connection = connect(self.folder, write=True, timeout_s=self.lock_timeout_s)
        try:
            connection.execute("VACUUM")
            _fold_log(connection)
        except sqlite3.OperationalError as err:
            # the compaction stands; only its space is given back later
            _log.warning("%s: could not shrink the catalog now: %s", self.folder, err)
        finally:
            connection.close()

    def state(self, reading: Reading) -> CatalogState:
        """The commit that a transaction sees.

        Raises:
            CorruptIndexError: a record is not what this library writes.
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
            msg = f"{self.folder / CATALOG}: a record is not what colbert_rag writes: {err}"
            raise CorruptIndexError(msg) from err

    def _take(self) -> Reading:
        self.check_usable()
        with self._guard:
            if self._idle:
                return self._idle.pop()
        return Reading(connect(self.folder, write=False, timeout_s=self.lock_timeout_s))

    def _give_back(self, reading: Reading) -> None:
        with self._guard:
            # an immutable view would never see a later commit, so it serves one transaction only
            if not self._is_closed and access_mode(self.folder) != IMMUTABLE:
                self._idle.append(reading)
                return
        reading.connection.close()

    def check_usable(self) -> None:
        """Refuse to go on after :meth:`close` and in a forked child.

        Raises:
            IndexClosedError: saying which.
        """
        if self._process != os.getpid():
            msg = f"{self.folder}: this index was opened before the process forked. Open it again in the child."
            raise IndexClosedError(msg)
        if self._is_closed:
            msg = f"{self.folder}: the index is closed. Open it again with Index.open({str(self.folder)!r})."
            raise IndexClosedError(msg)
