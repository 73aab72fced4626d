from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from colbert_rag.errors import IndexExistsError, StorageError
from colbert_rag.storage import Catalog, create_catalog


def names(folder):
    return {path.name for path in folder.iterdir()}


def ids(catalog):
    with catalog.reading() as reading:
        return list(reading.ids())


def test_an_index_is_created_in_an_empty_folder_and_below_missing_ones(tmp_path, settings):
    for folder in (tmp_path, tmp_path / "a" / "b"):
        create_catalog(folder, settings)
        assert (folder / "catalog.sqlite").is_file()


def test_creating_over_an_index_is_refused_and_leaves_it(folder, catalog, store, settings):
    store({"a": "text"})
    with pytest.raises(IndexExistsError, match=r"an index here already.*Index.open"):
        create_catalog(folder, settings)
    assert ids(catalog) == ["a"]


def test_creating_in_a_folder_of_something_else_is_refused(tmp_path, settings):
    (tmp_path / "notes.txt").touch()
    for folder in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(IndexExistsError, match="not an empty folder"):
            create_catalog(folder, settings)
    assert names(tmp_path) == {"notes.txt"}


@pytest.mark.parametrize(("number", "advice"), [(errno.EACCES, "permissions"), (errno.EIO, "Check the disk")])
def test_a_folder_that_cannot_be_looked_at_is_named(tmp_path, settings, monkeypatch, number, advice):
    def fails(folder):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "iterdir", fails)
    with pytest.raises(StorageError, match=rf"{tmp_path}: cannot be read .*{advice}"):
        create_catalog(tmp_path, settings)


def test_what_an_interrupted_creation_left_is_in_nobodys_way_and_goes(tmp_path, settings):
    for suffix in ("", "-journal", "-wal"):
        (tmp_path / f"catalog.sqlite.new-1{suffix}").write_bytes(b"half a page")
    create_catalog(tmp_path, settings)
    assert names(tmp_path) == {"catalog.sqlite"}
    Catalog(tmp_path).close()


def test_the_second_of_two_creators_never_replaces_the_first(tmp_path, settings, monkeypatch):
    create_catalog(tmp_path, settings)
    before = (tmp_path / "catalog.sqlite").read_bytes()
    # as if the other process had created its index right after our look at the folder
    monkeypatch.setattr("colbert_rag.storage.creating._check_is_empty", lambda folder: None)
    with pytest.raises(IndexExistsError, match="another process"):
        create_catalog(tmp_path, settings)
    assert (tmp_path / "catalog.sqlite").read_bytes() == before
    assert names(tmp_path) == {"catalog.sqlite"}


def test_a_creator_whose_file_was_swept_by_the_first_is_told_that_it_is_the_second(tmp_path, settings, monkeypatch):
    def swept(building):
        monkeypatch.undo()
        building.unlink()
        create_catalog(tmp_path, settings)

    monkeypatch.setattr("colbert_rag.storage.creating.sync_file", swept)
    with pytest.raises(IndexExistsError, match="another process"):
        create_catalog(tmp_path, settings)
    assert names(tmp_path) == {"catalog.sqlite"}


def test_a_file_system_without_hard_links_will_do(tmp_path, settings, monkeypatch):
    def no_links(source, target):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", no_links)
    create_catalog(tmp_path, settings)
    assert names(tmp_path) == {"catalog.sqlite"}
    Catalog(tmp_path).close()


def test_a_failing_disk_is_named_and_leaves_an_empty_folder(tmp_path, settings, monkeypatch):
    def fails(source, target):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "link", fails)
    with pytest.raises(StorageError, match=r"catalog.sqlite: cannot be written \(Input/output error\)"):
        create_catalog(tmp_path / "index", settings)
    assert names(tmp_path / "index") == set()
