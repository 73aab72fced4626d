"""Rows are read as far as they can be; tests/test_restoring.py damages real indexes."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hostile_index import HostileIndex

from colbert_rag import Document, Index
from colbert_rag.errors import (
    CorruptIndexError,
    IndexLockedError,
    IndexNotFoundError,
    StorageError,
    UnsupportedFormatError,
)
from colbert_rag.storage import Catalog
from colbert_rag.storage.salvage import salvaging
from colbert_rag.testing import HashEncoder

DOCUMENTS = [Document(f"d{n}", f"text {n}", {"n": n}, ref_id=f"r{n}" if n % 2 else None) for n in range(6)]


@pytest.fixture
def folder(tmp_path):
    with Index.create(tmp_path / "index", HashEncoder(dim=8)) as index:
        index.add(DOCUMENTS)
        index.delete(["d5"])
    return tmp_path / "index"


def change(folder, sql):
    with closing(sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(sql)


def test_a_sound_catalog_is_read_as_a_transaction_reads_it(folder):
    catalog = Catalog(folder)
    with catalog.reading() as reading:
        state, dead, expected = catalog.state(reading), reading.tombstones(), dict(reading.all_documents())
    catalog.close()
    with salvaging(folder) as salvage:
        assert (salvage.settings(), salvage.codec()) == (state.settings, state.codec)
        assert tuple(salvage.segments()) == state.segments
        assert salvage.tombstones() == set(dead)
        found = salvage.find_documents(range(20))
        assert {key: i for key, i in found.items() if i is not None} == {key: d.id for key, d in expected.items()}
        assert {key: salvage.document(key) for key in expected} == expected
        assert salvage.document(99) is None
        assert salvage.problems == []


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE content SET text = 'other' WHERE key = 1",
        "UPDATE content SET heading = 'other' WHERE key = 1",
        "UPDATE content SET metadata = '{}' WHERE key = 1",
        "UPDATE content SET extra = '1' WHERE key = 1",
        "UPDATE content SET checksum = checksum + 1 WHERE key = 1",
        "UPDATE documents SET id = 'other' WHERE key = 1",
        "UPDATE documents SET ref_id = 'other' WHERE key = 1",
        "DELETE FROM content WHERE key = 1",
    ],
)
def test_a_document_of_which_anything_was_changed_is_not_given(folder, sql):
    change(folder, sql)
    with salvaging(folder) as salvage:
        salvage.find_documents(())
        assert salvage.document(1) is None
        assert salvage.document(2) == DOCUMENTS[1]


@pytest.mark.parametrize("column", ["content.heading", "content.text", "content.metadata", "content.extra"])
@pytest.mark.parametrize("value", ["ff", "c3", "eda080"])
def test_a_document_that_holds_what_is_no_text_is_not_given_whatever_its_checksum_says(folder, column, value):
    table, name = column.split(".")
    HostileIndex(folder, folder.parent).sql(f"UPDATE {table} SET {name} = CAST(x'{value}' AS TEXT) WHERE key = 1")
    with salvaging(folder) as salvage:
        assert salvage.find_documents(())[1] == "d0"
        assert salvage.document(1) is None
        assert salvage.document(2) == DOCUMENTS[1]


@pytest.mark.parametrize("value", ["CAST(x'ff' AS TEXT)", "CAST(x'eda080' AS TEXT)", "CAST(id AS BLOB)", "5", "NULL"])
def test_an_id_that_is_no_text_is_no_id(folder, value):
    HostileIndex(folder, folder.parent).loosely("documents", f"UPDATE documents SET id = {value} WHERE key = 1")
    with salvaging(folder) as salvage:
        found = salvage.find_documents(())
        assert {key: found[key] for key in (1, 2)} == {1: None, 2: "d1"}
        assert salvage.document(1) is None


def test_where_one_copy_of_an_id_is_no_text_the_other_is_taken(folder):
    with closing(sqlite3.connect(folder / "catalog.sqlite")) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'documents'")
    data = bytearray((folder / "catalog.sqlite").read_bytes())
    place = data.index(b"d1", (page - 1) * 16_384, page * 16_384)
    data[place] = 0xFF
    (folder / "catalog.sqlite").write_bytes(data)
    with salvaging(folder) as salvage:
        assert salvage.find_documents(())[2] == "d1"
        assert salvage.document(2) == DOCUMENTS[1]


@pytest.mark.parametrize("column", ["settings", "commits", "next_key", "tombstones", "segments", "checksum"])
def test_a_state_of_which_anything_was_changed_is_not_believed(folder, column):
    change(folder, f"UPDATE state SET {column} = replace({column}, '8', '9') || '1'")
    with salvaging(folder) as salvage:
        assert salvage.settings() is None
        assert any("state" in problem for problem in salvage.problems)


def test_of_two_records_of_one_segment_the_first_is_taken(folder):
    with salvaging(folder) as salvage:
        [expected] = salvage.segments()
    HostileIndex(folder, folder.parent).sql("INSERT INTO segments SELECT name || '0', record FROM segments")
    with salvaging(folder) as salvage:
        assert salvage.segments() == [expected]
        assert salvage.problems == [f"catalog.sqlite: {expected.name}: two records of one segment; the first is taken"]


def test_a_record_of_megabytes_is_not_parsed(folder):
    hostile = HostileIndex(folder, folder.parent)
    hostile.edit_settings(lambda record: record["model"].update(more=["x" * 1_000] * 1_100))
    with salvaging(folder) as salvage:
        assert salvage.settings() is None
        [problem] = salvage.problems
        assert "settings takes more than 1,048,576 characters of JSON" in problem


def test_a_view_in_the_place_of_a_table_is_not_read(folder):
    change(folder, "DROP TABLE tombstones")
    endless = "WITH RECURSIVE n(key) AS (SELECT 1 UNION ALL SELECT key + 1 FROM n) SELECT key FROM n"
    change(folder, f"CREATE VIEW tombstones AS {endless}")
    with salvaging(folder) as salvage:
        assert salvage.tombstones() == set()
        assert any("tombstones" in problem for problem in salvage.problems)


def test_a_catalog_of_a_newer_version_is_refused(folder):
    change(folder, "PRAGMA user_version = 99")
    with pytest.raises(UnsupportedFormatError), salvaging(folder):
        pass


def test_without_a_first_page_no_row_can_be_found(folder):
    path = folder / "catalog.sqlite"
    path.write_bytes(bytes(16_384) + path.read_bytes()[16_384:])
    with pytest.raises(CorruptIndexError, match="first page"), salvaging(folder):
        pass


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("disk I/O error", StorageError),
        ("database or disk is full", StorageError),
        ("database is locked", IndexLockedError),
        ("file is not a database", CorruptIndexError),
    ],
)
def test_a_disk_that_fails_and_a_lock_are_no_damage(folder, monkeypatch, words, kind):
    def fails(connection):
        raise sqlite3.OperationalError(words)

    monkeypatch.setattr("colbert_rag.storage.salvage.schema_rows", fails)
    with pytest.raises(kind) as caught, salvaging(folder):
        pass
    assert type(caught.value) is kind
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_folder_that_cannot_be_looked_at_is_a_storage_error(folder, monkeypatch, number):
    def fails(path):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("colbert_rag.storage.salvage.check_files", fails)
    with pytest.raises(StorageError, match=r"catalog\.sqlite: cannot be read .* repeat"), salvaging(folder):
        pass


@contextmanager
def as_nobody():
    """Without the rights of root, whom no permission stops."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no POSIX permissions here")
def test_a_catalog_that_may_not_be_read_is_named_with_its_permissions(folder):
    with tempfile.TemporaryDirectory() as public:
        copy = shutil.copytree(folder, Path(public, "index"))
        for path, mode in ((copy.parent, 0o755), (copy, 0o755), (copy / "catalog.sqlite", 0o000)):
            path.chmod(mode)
        words = r"index/catalog\.sqlite: cannot be opened .* permissions are -{10}"
        with as_nobody(), pytest.raises(StorageError, match=words), salvaging(copy):
            pass


def test_without_a_catalog_there_is_no_index(tmp_path):
    with pytest.raises(IndexNotFoundError), salvaging(tmp_path):
        pass
