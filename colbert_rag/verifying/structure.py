"""The catalog as a database: its file, its log, its pages and its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from colbert_rag.errors import CorruptIndexError, IndexNotFoundError
from colbert_rag.storage.access import CATALOG, access_mode, may_write
from colbert_rag.storage.connection import check_format
from colbert_rag.storage.forking import using
from colbert_rag.storage.full_text_record import check_full_text_record
from colbert_rag.storage.guards import check_files, check_schema, has_only_name, work_bounded
from colbert_rag.storage.system_errors import read_errors

__all__ = ["LOG", "check_catalog_file", "check_tables", "check_write_version", "page_problems", "reading_catalog"]

LOG = CATALOG + "-wal"
_TIMEOUT_S = 30.0
_TRIES = 3
_MOST_LINES = 20


def check_catalog_file(root: Path) -> None:
    """Refuse what must not even be opened.

    Raises:
        IndexNotFoundError: there is no catalog.
        CorruptIndexError: a link or a device in its place.
        StorageError: this user may not look at it.
    """
    path = root / CATALOG
    with read_errors(path):
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError) as err:
            msg = f"{root}: no index here ({CATALOG} is missing)."
            raise IndexNotFoundError(msg) from err
        check_files(path)


@contextmanager
def reading_catalog(root: Path) -> Iterator[sqlite3.Connection]:
    """One read transaction that changes no byte of the catalog or its log, whatever state they are in."""
    check_files(root / CATALOG)
    log = root / LOG
    # whoever may write folds the log in when the last one closes, and a log that a killed writer left is evidence
    mode = "mode=ro" if log.exists() and log.stat().st_size else access_mode(root)
    uri = f"{(root / CATALOG).absolute().as_uri()}?{mode}"
    with (
        using(root / CATALOG),
        closing(sqlite3.connect(uri, uri=True, timeout=_TIMEOUT_S, isolation_level=None)) as connection,
    ):
        # a row that is no text must be read to be named
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("BEGIN")
        yield connection


def check_tables(connection: sqlite3.Connection, root: Path) -> None:
    """Refuse a database that is not ours.

    Raises:
        CorruptIndexError: another kind of database, or other tables.
        UnsupportedFormatError: another format version.
    """
    check_format(connection, root)
    check_schema(connection, root / CATALOG)
    check_full_text_record(connection, root / CATALOG)


def check_write_version(root: Path) -> None:
    """Refuse a catalog whose header forbids what the permissions allow; to be called while it is being read.

    The byte that says so is read by nobody but a connection that may write, and a file with locks on it is not opened
    by hand: closing it would drop them. The reader keeps the log from being folded in when this connection closes.

    Raises:
        CorruptIndexError: the write version of the file (byte 18, sqlite.org/fileformat.html section 1.3.3) is not one
            that SQLite writes.
    """
    path = root / CATALOG
    if not may_write(root) or not has_only_name(path):
        return
    # where SQLite cannot open the log or the shared memory for writing, for want of a descriptor for example, it opens
    # them for reading: no damage, and it passes
    if all(_is_refused(path) for _ in range(_TRIES)):
        msg = f"{path}: its header says that nobody may write it (write version, byte 18)"
        raise CorruptIndexError(msg)


def _is_refused(path: Path) -> bool:
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with (
        using(path),
        closing(sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)) as connection,
    ):
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as err:
            # where it is locked a writer is writing, who would not without that byte
            if "readonly" not in str(err) and "locked" not in str(err):
                raise
            return "readonly" in str(err)
    return False


def page_problems(connection: sqlite3.Connection, root: Path) -> Iterator[str]:
    """Whether SQLite finds its pages; where it does not, rows cannot be trusted to end."""
    with work_bounded(connection):
        for (line,) in connection.execute(f"PRAGMA integrity_check({_MOST_LINES})"):
            if line != "ok":
                yield line
    yield from _size_problems(connection, root)


def _size_problems(connection: sqlite3.Connection, root: Path) -> Iterator[str]:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    on_disk, log = (root / CATALOG).stat().st_size, root / LOG
    # pages that are still in the log may not have their place in the catalog yet
    is_folded = not log.exists() or not log.stat().st_size
    if is_folded and on_disk != pages * page_bytes:
        yield f"{on_disk:,} bytes on disk, {pages * page_bytes:,} in its pages"
