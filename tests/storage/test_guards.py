from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing

import pytest

from colbert_rag.errors import CorruptIndexError, ReadOnlyIndexError
from colbert_rag.storage.connection import CATALOG, connect
from colbert_rag.storage.guards import check_files, check_only_name, check_pages, check_schema, work_bounded
from colbert_rag.storage.holes import check_filled


@pytest.fixture
def path(folder):
    return folder / CATALOG


@pytest.mark.parametrize("side", ["-wal", "-shm", "-journal"])
def test_a_link_beside_the_catalog_is_refused(path, tmp_path, side):
    check_files(path)
    path.with_name(path.name + side).symlink_to(tmp_path / "nowhere")
    with pytest.raises(CorruptIndexError, match=side):
        check_files(path)


@pytest.mark.parametrize("side", ["-wal", "-shm", "-journal"])
def test_a_file_beside_the_catalog_may_go_while_it_is_looked_at(path, monkeypatch, side):
    """Whoever closes the index last removes the log and its shared memory."""
    beside, lstat = path.with_name(path.name + side), type(path).lstat
    beside.write_bytes(b"")

    def too_late(self):
        if self == beside:
            self.unlink()
        return lstat(self)

    monkeypatch.setattr(type(path), "lstat", too_late)
    check_files(path)
    assert not beside.exists()


def test_a_journal_is_refused_before_sqlite_replays_it(path, folder):
    journal = path.with_name(path.name + "-journal")
    journal.write_bytes(b"")
    check_files(path)
    journal.write_bytes(b"x")
    with pytest.raises(CorruptIndexError, match="SQLite would replay it"):
        connect(folder, write=False, timeout_s=0.1)


def test_a_second_name_is_refused_unless_a_creation_left_it(path, tmp_path):
    os.link(path, path.with_name(path.name + ".new-1"))
    check_only_name(path)
    os.link(path, tmp_path / "elsewhere")
    with pytest.raises(ReadOnlyIndexError, match="another name elsewhere"):
        check_only_name(path)


def test_files_that_are_mostly_holes_are_refused(tmp_path):
    full, hollow = tmp_path / "full", tmp_path / "hollow"
    full.write_bytes(b"x" * (2 << 20))
    hollow.write_bytes(b"x" * 4096)
    os.truncate(hollow, 1 << 30)
    if not hasattr(hollow.stat(), "st_blocks") or hollow.stat().st_blocks * 512 >= 1 << 24:
        pytest.skip("this file system has no holes")
    check_filled(tmp_path, {full: full.stat()})
    with pytest.raises(CorruptIndexError, match="of them on the disk"):
        check_filled(tmp_path, {full: full.stat(), hollow: hollow.stat()})
    os.truncate(hollow, 60 << 20)
    check_filled(tmp_path, {full: full.stat(), hollow: hollow.stat()})


@pytest.mark.parametrize(
    "sql",
    ["CREATE TABLE more (x)", "CREATE VIEW more AS SELECT 1", "DROP TABLE tombstones", "DROP INDEX documents_by_ref"],
)
def test_a_schema_that_is_not_ours_is_refused(path, sql):
    with closing(sqlite3.connect(path)) as connection:
        check_schema(connection, path)
        connection.execute(sql)
        with pytest.raises(CorruptIndexError, match="not the tables of an index"):
            check_schema(connection, path)


def test_work_without_end_is_interrupted_and_other_work_is_not(path):
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    with closing(sqlite3.connect(path)) as connection:
        check_pages(connection, path)
        with pytest.raises(CorruptIndexError, match="in a circle"), work_bounded(connection):
            connection.execute(endless).fetchone()
        with pytest.raises(sqlite3.OperationalError, match="no such table"), work_bounded(connection):
            connection.execute("SELECT * FROM absent")
        # the bound is gone with its block
        long = endless.replace("FROM n)", "FROM n WHERE x < 2000000)")
        assert connection.execute(long).fetchone() == (2_000_000,)


def test_statistics_of_sqlite_are_no_other_schema_and_tables_of_their_name_are(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ANALYZE")
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'").fetchone()
        check_schema(connection, path)
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = sql || ' STRICT' WHERE name = 'sqlite_stat1'")
        with pytest.raises(CorruptIndexError, match="sqlite_stat1"):
            check_schema(connection, path)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, TimeoutError])
def test_what_a_signal_raises_during_a_check_reaches_the_user(path, error):
    def stop(number, frame):
        raise error

    # some ten seconds; the bound is out of the way
    slow = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 100000000) SELECT max(x) FROM n"
    before = signal.signal(signal.SIGALRM, stop)
    try:
        with closing(sqlite3.connect(path)) as connection:
            # many pages, so that many steps are allowed
            connection.execute("CREATE TABLE filler AS SELECT zeroblob(64000000) AS x")
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(error), work_bounded(connection):
                connection.execute(slow).fetchone()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
