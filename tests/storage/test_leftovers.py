from __future__ import annotations

import sqlite3

import pytest

from colbert_rag.errors import StorageError
from colbert_rag.storage.leftovers import leftovers, remove_leftovers, unfinished_creations


@pytest.fixture
def littered(tmp_path):
    for name in ("segment-1", "segment-2", "codec-1", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    for name in ("catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite.new-1", "catalog.sqlite.new-1-journal"):
        (tmp_path / name).touch()
    (tmp_path / "segment-linked").symlink_to(tmp_path / "notes")
    return tmp_path


def test_what_a_commit_names_and_what_is_not_ours_are_no_leftovers(littered):
    found = leftovers(littered, {"segment-1"})
    assert [path.name for path in found] == [
        *("catalog.sqlite.new-1", "catalog.sqlite.new-1-journal", "codec-1", "segment-2")
    ]


def test_leftovers_are_removed_and_nothing_else(littered):
    before = {path.name for path in littered.iterdir()}
    found = leftovers(littered, {"segment-1"})
    remove_leftovers(found)
    assert {path.name for path in littered.iterdir()} == before - {path.name for path in found}
    remove_leftovers(found)


def test_a_folder_that_cannot_be_read_is_an_error_of_ours(tmp_path):
    with pytest.raises(StorageError, match="gone"):
        leftovers(tmp_path / "gone", set())
    with pytest.raises(StorageError, match="gone"):
        unfinished_creations(tmp_path / "gone")


def test_superseding_changes_the_log_and_nothing_that_is_read(catalog, store):
    store({"a": "text"})
    log = catalog.folder / "catalog.sqlite-wal"
    with catalog.reading() as reading:
        commits, size = reading.commits(), log.stat().st_size
    with catalog.writing() as writing:
        catalog.supersede(writing)
        assert writing.commits() == commits
        assert log.stat().st_size > size
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite3.connect(catalog.folder / "catalog.sqlite", timeout=0).execute("BEGIN IMMEDIATE")
