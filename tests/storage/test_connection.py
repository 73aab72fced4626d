from __future__ import annotations

import os
import sqlite3
import sys
import threading

import pytest
from children import fork, join

from colbert_rag.errors import (
    CorruptIndexError,
    IndexClosedError,
    IndexLockedError,
    IndexNotFoundError,
    MissingDependencyError,
    ReadOnlyIndexError,
    StorageError,
    UnsupportedFormatError,
)
from colbert_rag.storage import Catalog
from colbert_rag.storage.connection import _WORDS, CatalogConnection, connect, sqlite_errors


def test_a_folder_without_a_catalog_is_no_index(tmp_path):
    with pytest.raises(IndexNotFoundError, match=r"catalog.sqlite is missing.*Index.create"):
        Catalog(tmp_path)
    with pytest.raises(IndexNotFoundError):
        Catalog(tmp_path / "nowhere")
    (tmp_path / "catalog.sqlite").mkdir()
    with pytest.raises(IndexNotFoundError):
        Catalog(tmp_path)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be one" * 50, bytes(4096)])
def test_a_file_that_is_no_database_is_corrupt(tmp_path, content):
    (tmp_path / "catalog.sqlite").write_bytes(content)
    with pytest.raises(CorruptIndexError, match=r"catalog\.sqlite"):
        Catalog(tmp_path)


def test_a_database_of_another_program_is_corrupt(folder, tamper):
    tamper("PRAGMA application_id = 17")
    with pytest.raises(CorruptIndexError, match=r"not of colbert_rag \(application id 0x11\)"):
        Catalog(folder)


def test_a_newer_format_is_refused_with_both_versions(folder, tamper):
    tamper("PRAGMA user_version = 2")
    with pytest.raises(UnsupportedFormatError, match="format version 2, this version of colbert_rag reads 1"):
        Catalog(folder)


def test_paths_with_signs_of_urls_are_opened(tmp_path, settings):
    from colbert_rag.storage import create_catalog

    folder = tmp_path / "a ?mode=memory#%41 é"
    create_catalog(folder, settings)
    catalog = Catalog(folder)
    with catalog.reading() as reading:
        assert reading.commits() == 0
    catalog.close()


def test_reading_connections_cannot_write(folder):
    connection = connect(folder, write=False, timeout_s=0)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM state")
    connection.close()


def test_readers_without_patience_for_writers_wait_for_the_moment_that_a_recovery_takes(folder):
    holder = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None, check_same_thread=False)
    for sql in ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN IMMEDIATE", "COMMIT"):
        holder.execute(sql)
    ending = threading.Timer(0.3, holder.close)
    ending.start()
    catalog = Catalog(folder, lock_timeout_s=0)
    with catalog.reading() as reading:
        assert reading.commits() == 0
    catalog.close()
    ending.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_connection_is_neither_used_nor_closed_in_a_forked_child(folder):
    connection = connect(folder, write=True, timeout_s=0)

    def child():
        for use in (connection.execute, lambda sql: connection.executemany(sql, [])):
            with pytest.raises(IndexClosedError, match="Open it again in the child"):
                use("SELECT 1")
        connection.close()
        # past our guard: it is still open
        assert sqlite3.Connection.execute(connection, "SELECT 1").fetchone() == (1,)

    assert join(fork(child)) == [0]
    assert connection.execute("SELECT commits FROM state").fetchone() == (0,)
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_a_connection_whose_opening_was_interrupted_goes_without_a_word():
    never_opened = CatalogConnection.__new__(CatalogConnection)
    never_opened.__del__()
    never_opened.close()


class TestCatalogWithAnotherName:
    """As ``cp -al`` and ``rsync --link-dest`` make snapshots, and as some installers place files."""

    @pytest.fixture(autouse=True)
    def snapshot(self, store, catalog, folder, tmp_path):
        store({"a": "text"})
        catalog.close()
        os.link(folder / "catalog.sqlite", tmp_path / "snapshot.sqlite")
        return tmp_path / "snapshot.sqlite"

    def test_it_is_read_and_not_written(self, folder):
        catalog = Catalog(folder)
        with catalog.reading() as reading:
            assert list(reading.ids()) == ["a"]
        with pytest.raises(ReadOnlyIndexError, match=r"another name elsewhere.*Copy it"), catalog.writing():
            pass
        catalog.close()

    def test_its_log_is_read_and_not_folded_into_it(self, folder, snapshot):
        log = folder / "catalog.sqlite-wal"
        with_log(folder, "UPDATE state SET commits = 7")
        before, size = snapshot.read_bytes(), log.stat().st_size
        catalog = Catalog(folder)
        with catalog.reading() as reading:
            assert reading.commits() == 7
        catalog.close()
        assert snapshot.read_bytes() == before
        assert log.stat().st_size == size > 0


def with_log(folder, sql):
    """A commit that lies in the log alone, as when its writer was killed."""
    log = folder / "catalog.sqlite-wal"
    writer = sqlite3.connect(folder / "catalog.sqlite")
    writer.execute(sql)
    writer.commit()
    content = log.read_bytes()
    catalog = (folder / "catalog.sqlite").read_bytes()
    writer.close()
    (folder / "catalog.sqlite").write_bytes(catalog)
    log.write_bytes(content)


def test_schema_of_a_hostile_catalog_runs_no_functions_with_side_effects(folder):
    connection = connect(folder, write=True, timeout_s=0)
    assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()


class TestFolderWithoutWriteAccess:
    """Root may write everywhere, so the permission is taken away from what asks for it."""

    @pytest.fixture(autouse=True)
    def no_access(self, store, catalog, monkeypatch):
        store({"a": "text"})
        catalog.close()
        monkeypatch.setattr("colbert_rag.storage.connection.os.access", lambda path, mode: False)

    def test_it_is_read_and_nothing_is_created_in_it(self, folder):
        before = sorted(path.name for path in folder.iterdir())
        catalog = Catalog(folder)
        with catalog.reading() as reading:
            assert list(reading.ids()) == ["a"]
            assert sorted(path.name for path in folder.iterdir()) == before
        catalog.close()

    def test_writing_is_refused(self, folder):
        catalog = Catalog(folder)
        with pytest.raises(ReadOnlyIndexError, match="open for reading only"), catalog.writing():
            pass
        catalog.close()

    def test_a_log_that_must_be_replayed_is_named(self, folder):
        (folder / "catalog.sqlite-wal").write_bytes(b"log")
        with pytest.raises(ReadOnlyIndexError, match="last writer did not finish and the folder is read-only"):
            Catalog(folder)


def named(text, name):
    """An error as Python 3.11 and later raise it."""
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (sqlite3.OperationalError("database is locked"), IndexLockedError, "lock_timeout_s"),
        (sqlite3.OperationalError("attempt to write a readonly database"), StorageError, r"permissions.*ulimit -n"),
        (sqlite3.OperationalError("database or disk is full"), StorageError, "disk is full.*Free space"),
        (sqlite3.OperationalError("disk I/O error"), StorageError, "check the permissions.*verify"),
        (sqlite3.OperationalError("unable to open database file"), StorageError, r"ulimit -n.*verify"),
        (named("another text", "SQLITE_IOERR_SHMMAP"), StorageError, "another text, SQLITE_IOERR_SHMMAP"),
        (named("vtable constructor failed: fulltext", "SQLITE_CANTOPEN"), StorageError, "vtable constructor failed"),
        (named("another text", "SQLITE_BUSY_SNAPSHOT"), IndexLockedError, "lock_timeout_s"),
        (sqlite3.OperationalError("no such module: fts5"), MissingDependencyError, "lacks FTS5"),
        (sqlite3.OperationalError("no such table: state"), CorruptIndexError, "verify"),
        (sqlite3.DatabaseError("database disk image is malformed"), CorruptIndexError, "disk cannot read it.*verify"),
        (sqlite3.DatabaseError("file is not a database"), CorruptIndexError, "not a database. Run: .*verify"),
        (sqlite3.IntegrityError("UNIQUE constraint failed"), CorruptIndexError, "UNIQUE"),
        (KeyError("mine"), KeyError, "mine"),
    ],
)
def test_errors_of_sqlite_become_ours_and_others_stay(tmp_path, raised, expected, words):
    with pytest.raises(expected, match=words) as caught, sqlite_errors(tmp_path):
        raise raised
    assert caught.value is raised or caught.value.__cause__ is raised


def test_a_write_that_is_refused_is_read_only_only_where_the_folder_is(tmp_path, monkeypatch):
    def refuse():
        with sqlite_errors(tmp_path):
            raise sqlite3.OperationalError("attempt to write a readonly database")

    with pytest.raises(StorageError):
        refuse()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ReadOnlyIndexError, match="Check the permissions of the folder"):
        refuse()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python does not say the number of the error")
def test_the_words_for_python_3_10_are_those_of_sqlite(folder):
    blocker = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    for uri, sql, name in (
        ("mode=rw", "BEGIN IMMEDIATE", "SQLITE_BUSY"),
        ("mode=ro", "DELETE FROM state", "SQLITE_READONLY"),
    ):
        other = sqlite3.connect(f"{(folder / 'catalog.sqlite').as_uri()}?{uri}", uri=True, timeout=0)
        with pytest.raises(sqlite3.OperationalError) as caught:
            other.execute(sql)
        assert _WORDS[str(caught.value)] == caught.value.sqlite_errorname == name
        other.close()
    blocker.close()
    with pytest.raises(sqlite3.OperationalError) as caught:
        sqlite3.connect(folder / "nowhere" / "catalog.sqlite")
    assert _WORDS[str(caught.value)] == caught.value.sqlite_errorname == "SQLITE_CANTOPEN"


def test_a_name_that_no_file_can_have_is_refused_with_words(tmp_path):
    with pytest.raises(StorageError, match="cannot be read"):
        Catalog(tmp_path / ("a" * 300))
