"""Creating an index: its catalog is built under another name and gets its own when it is whole and durable."""

from __future__ import annotations

import os
import secrets
import sqlite3
from pathlib import Path

from colbert_rag.errors import IndexExistsError
from colbert_rag.storage.connection import CATALOG, sqlite_errors
from colbert_rag.storage.files import make_file, make_folders, publish, remove_file, sync_file, sync_folder
from colbert_rag.storage.forking import using
from colbert_rag.storage.leftovers import UNFINISHED, unfinished_creations
from colbert_rag.storage.records import IndexSettings
from colbert_rag.storage.schema import SCHEMA
from colbert_rag.storage.system_errors import read_errors
from colbert_rag.storage.writing import Writing

__all__ = ["check_is_vacant", "create_catalog"]


def check_is_vacant(folder: Path) -> None:
    """Refuse a place where no index can be created.

    Raises:
        IndexExistsError: there is an index, a file, or a folder that is not empty.
        StorageError: the folder cannot be read.
    """
    with read_errors(folder):
        _check_is_empty(folder)


def create_catalog(folder: Path, settings: IndexSettings) -> None:
    """Create an empty index in a folder that is new or empty; the catalog's name appears last.

    Raises:
        IndexExistsError: the folder is not empty.
        StorageError: the folder cannot be read or written.
        ReadOnlyIndexError: this process may not write to it.
    """
    path = folder / CATALOG
    building = folder / f"{UNFINISHED}{secrets.token_hex(8)}"
    check_is_vacant(folder)
    make_folders(folder)
    try:
        _build(building, settings)
        sync_file(building)
        publish(building, path)
    except OSError as err:
        if os.path.lexists(path):
            # whoever is first removes what others have begun, so they may fail in any way
            msg = f"{folder}: another process has just created an index here. Open it with Index.open."
            raise IndexExistsError(msg) from err
        raise
    finally:
        for suffix in ("-journal", "-wal", "-shm", ""):
            remove_file(building.with_name(building.name + suffix))
    sync_folder(folder)
    for leftover in unfinished_creations(folder):
        remove_file(leftover)


def _build(building: Path, settings: IndexSettings) -> None:
    # it is there before SQLite opens it, so that a child forked from here on knows which file to keep away from
    make_file(building)
    with read_errors(building), using(building), sqlite_errors(building.parent):
        connection = sqlite3.connect(building, isolation_level=None)
        try:
            # nobody needs it before it is whole; then it is synced once
            connection.execute("PRAGMA journal_mode = MEMORY").fetchone()
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(SCHEMA)
            Writing(connection).initialise(settings)
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        finally:
            connection.close()


def _check_is_empty(folder: Path) -> None:
    if (folder / CATALOG).exists():
        msg = f"{folder}: there is an index here already. Open it with Index.open({str(folder)!r})."
        raise IndexExistsError(msg)
    if folder.exists() and not (folder.is_dir() and all(p.name.startswith(UNFINISHED) for p in folder.iterdir())):
        msg = f"{folder}: exists and is not an empty folder. Choose another path for the index."
        raise IndexExistsError(msg)
