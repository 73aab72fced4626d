"""Opening the catalog: pragmas, checks of the file, and SQLite's errors in our words."""

from __future__ import annotations

import ctypes
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from colbert_rag.errors import (
    ColbertRagError,
    CorruptIndexError,
    IndexClosedError,
    IndexLockedError,
    IndexNotFoundError,
    MissingDependencyError,
    ReadOnlyIndexError,
    StorageError,
    UnsupportedFormatError,
)
from colbert_rag.storage.access import CATALOG, IMMUTABLE, access_mode, may_write
from colbert_rag.storage.forking import Identity, Use, enter, leave
from colbert_rag.storage.guards import check_files, check_only_name
from colbert_rag.storage.schema import APPLICATION_ID, FORMAT_VERSION
from colbert_rag.storage.system_errors import is_too_much, read_errors

__all__ = [
    "CATALOG",
    "CatalogConnection",
    "check_format",
    "connect",
    "is_in_doubt",
    "sqlite_errors",
]

# the first with STRICT tables
_LEAST_SQLITE = (3, 37)
# what a reader may have to wait for: another process that replays a crashed writer's log, or folds it in as the last
# one out; a writer who only writes keeps no reader waiting
_MOMENT_S = 30.0
# what SQLite says where it does not say its number: before Python 3.11
_WORDS = {
    "attempt to write a readonly database": "SQLITE_READONLY",
    "database is locked": "SQLITE_BUSY",
    "database disk image is malformed": "SQLITE_CORRUPT",
    "database or disk is full": "SQLITE_FULL",
    "database schema is locked": "SQLITE_LOCKED",
    "database table is locked": "SQLITE_LOCKED",
    "disk I/O error": "SQLITE_IOERR",
    "locking protocol": "SQLITE_PROTOCOL",
    "unable to open database file": "SQLITE_CANTOPEN",
}


class CatalogConnection(sqlite3.Connection):
    """A connection that only the process that opened it uses, closes or frees.

    Locks are not inherited, but SQLite in a forked child believes that it holds them: closing there can delete a log
    whose commits nobody has folded in yet (sqlite.org/howtocorrupt.html, section 2.6). So a child keeps it for ever.
    """

    # a signal may end __init__ before its first line
    _process: int | None = None
    use: Use | None = None
    """What says that it is open."""
    is_immutable = False
    """Whether it takes no lock: what it sees is a commit only as long as nobody changes the files."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._process = os.getpid()
        super().__init__(*args, **options)

    @property
    def is_own(self) -> bool:
        """Whether this process opened it, and is no child that was forked since."""
        return self._process == os.getpid()

    def execute(self, *args: Any) -> sqlite3.Cursor:
        """As in ``sqlite3``."""
        self._check_process()
        return super().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        """As in ``sqlite3``."""
        self._check_process()
        return super().executemany(*args)

    def close(self) -> None:
        """As in ``sqlite3``; nothing in a forked child."""
        if self.is_own:
            super().close()
            leave(self.use)
            self.use = None

    # the defaults outlive the module, which may be gone when the interpreter ends
    def __del__(
        self,
        getpid: Any = os.getpid,
        keep: Any = ctypes.pythonapi.Py_IncRef,
        of: Any = ctypes.py_object,
    ) -> None:
        if self._process not in (None, getpid()):
            keep(of(self))

    def _check_process(self) -> None:
        if not self.is_own:
            msg = "this index was opened before the process forked. Open it again in the child."
            raise IndexClosedError(msg)


def connect(folder: Path, *, write: bool, timeout_s: float, expected: Identity | None = None) -> CatalogConnection:
    """Open the catalog of an index; transactions are begun and ended by hand.

    Args:
        folder: The index folder.
        write: Whether changes are allowed.
        timeout_s: How long one try to begin a write waits for another writer.
        expected: The file that it must be; None for any.

    Raises:
        IndexNotFoundError: there is no catalog in the folder.
        IndexClosedError: another file lies there than the expected one, or this is a forked child and the parent was
            using it.
        CorruptIndexError: the catalog is a link, or something else than a catalog of ours lies beside it.
        StorageError: this user may not look at it.
        ReadOnlyIndexError: a crashed writer left a log that a folder without write access keeps us from replaying, or
            a write would change a catalog that another folder holds too.
    """
    path = folder / CATALOG
    with read_errors(path):
        if not path.is_file():
            msg = f"{folder}: no index here ({CATALOG} is missing). Create one with Index.create({str(folder)!r})."
            raise IndexNotFoundError(msg)
        check_files(path)
        if write:
            check_only_name(path)
        mode = access_mode(folder)
        use = enter(path)
    try:
        if expected not in (None, use.identity):
            msg = (
                f"{folder}: another index lies here now than the one that was opened: it was replaced, or moved and "
                f"made anew. Open it again with Index.open({str(folder)!r})."
            )
            raise IndexClosedError(msg)
        connection = _opened(path, mode)
    except BaseException:
        leave(use)
        raise
    connection.use = use
    try:
        with sqlite_errors(folder):
            _prepare(connection, timeout_s if write else None)
    except BaseException:
        connection.close()
        raise
    return connection


def _opened(path: Path, mode: str) -> CatalogConnection:
    with sqlite_errors(path.parent):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=_MOMENT_S,
            isolation_level=None,
            check_same_thread=False,
            factory=CatalogConnection,
        )
    connection.is_immutable = mode == IMMUTABLE
    return connection


def _prepare(connection: CatalogConnection, write_timeout_s: float | None) -> None:
    # a catalog is untrusted: no functions with side effects from its schema, no odd reads past pages
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA synchronous = FULL")
    # macOS: through the cache of the disk, as synchronous is understood everywhere else
    connection.execute("PRAGMA fullfsync = ON")
    # filters compare without case as Python does; SQLite's lower() knows ASCII alone
    connection.create_function("casefold", 1, str.casefold, deterministic=True)
    if write_timeout_s is None:
        connection.execute("PRAGMA query_only = ON")
    else:
        # joins the users of the log, so that from here on only another writer is waited for
        connection.execute("PRAGMA schema_version").fetchone()
        connection.execute(f"PRAGMA busy_timeout = {int(write_timeout_s * 1000)}")


def check_format(connection: sqlite3.Connection, folder: Path) -> None:
    """Refuse a file that is not ours or is newer than we are.

    Raises:
        CorruptIndexError: another kind of database.
        UnsupportedFormatError: another format version.
    """
    with sqlite_errors(folder):
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        msg = (
            f"{folder / CATALOG}: a database, but not of colbert_rag (application id {application_id:#x}). "
            "Open another folder, or restore the index from a backup."
        )
        raise CorruptIndexError(msg)
    if version != FORMAT_VERSION:
        msg = (
            f"{folder}: format version {version}, this version of colbert_rag reads {FORMAT_VERSION}. "
            "Upgrade: pip install -U late-interaction-rag"
        )
        raise UnsupportedFormatError(msg)


@contextmanager
def sqlite_errors(folder: Path) -> Iterator[None]:
    """Turn SQLite's errors into typed ones that name the folder and what to do."""
    try:
        yield
    except UnicodeDecodeError as err:
        # of Python's module, which quotes a damaged schema in the words of its own errors
        msg = f"{folder / CATALOG}: malformed, with text that is no UTF-8. Run: colbert-rag verify {folder}"
        raise CorruptIndexError(msg) from err
    except MemoryError as err:
        if not is_too_much(err):
            raise
        msg = f"{folder / CATALOG}: SQLite asks for more memory than there can be. Run: colbert-rag verify {folder}"
        raise CorruptIndexError(msg) from err
    except sqlite3.DatabaseError as err:
        if isinstance(err, sqlite3.ProgrammingError):
            raise
        raise _ours(folder, err, _name_of(err)) from err


def _name_of(err: sqlite3.Error) -> str:
    """SQLite's name for an error, which says more than its text; its text where Python does not give it."""
    return str(getattr(err, "sqlite_errorname", None) or _WORDS.get(str(err), err))


def _ours(folder: Path, err: sqlite3.Error, name: str) -> ColbertRagError:
    what = f"({err}, {name})"
    if "no such module" in str(err) or sqlite3.sqlite_version_info < _LEAST_SQLITE:
        return MissingDependencyError(
            f"Python's SQLite {sqlite3.sqlite_version} is too old or lacks FTS5 ({err}); 3.37 with FTS5 is needed."
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        msg = f"{folder}: another writer holds the index. Wait for it, or open with a larger lock_timeout_s."
        return IndexLockedError(msg)
    if name.startswith("SQLITE_READONLY") and not may_write(folder):
        return ReadOnlyIndexError(f"{folder}: the index cannot be written {what}. Check the permissions of the folder.")
    if name.startswith("SQLITE_FULL"):
        return StorageError(
            f"{folder}: the disk is full {what}. What was committed before stands. Free space, and repeat."
        )
    # it opens a file for reading alone where opening it for writing fails, whatever the reason
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_IOERR")):
        return StorageError(
            f"{folder}: the disk is full or failing {what}. What was committed before stands. Free space, check the "
            f"permissions, the limit of open files (ulimit -n) and the disk, and repeat; if it stays, run: "
            f"colbert-rag verify {folder}"
        )
    doubt = " The file is damaged, or the disk cannot read it." if _is_page_in_doubt(err) else ""
    return CorruptIndexError(f"{folder / CATALOG}: {err}.{doubt} Run: colbert-rag verify {folder}")


def _is_page_in_doubt(err: BaseException | None) -> bool:
    return isinstance(err, sqlite3.Error) and _name_of(err) == "SQLITE_CORRUPT"


def is_in_doubt(err: CorruptIndexError) -> bool:
    """Whether a page is not what was written, or the disk fails to give it (EIO): SQLite does not tell these apart."""
    return _is_page_in_doubt(err.__cause__)
