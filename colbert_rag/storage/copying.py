"""Copies of index files: pinned, made durable, and given their name only when they are whole."""

from __future__ import annotations

import io
import os
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from colbert_rag.errors import CorruptIndexError, IndexExistsError
from colbert_rag.storage.connection import CATALOG, sqlite_errors
from colbert_rag.storage.files import make_file, make_folder, make_folders, remove_folder, sync_file, sync_folder
from colbert_rag.storage.forking import using
from colbert_rag.storage.reading import Reading
from colbert_rag.storage.records import FileRecord
from colbert_rag.storage.system_errors import disk_errors, read_errors, unreadable
from colbert_rag.types import Progress

__all__ = ["appearing_folder", "copy_catalog", "copy_file", "open_file"]

_BLOCK = 1 << 20
# of 16 KiB each: progress is told, and other threads run, that often
_PAGES = 256


@contextmanager
def appearing_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside the target, which takes the target's name when the block ends well.

    Whatever ends the block otherwise, the folder is removed; a kill leaves it under a name that says so.

    Raises:
        IndexExistsError: there is something under the target's name.
        StorageError: the folder cannot be written.
    """
    _refuse_existing(target)
    building = target.with_name(f"{target.name}.unfinished-{secrets.token_hex(4)}")
    make_folders(target.parent)
    make_folder(building)
    try:
        yield building
        sync_folder(building)
        _name(building, target)
    except BaseException:
        remove_folder(building)
        raise


def _name(building: Path, target: Path) -> None:
    """Give a folder its name, durably; where that fails it has its old one, so that the call can be repeated."""
    _refuse_existing(target)
    with disk_errors(target):
        building.rename(target)
    try:
        sync_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            target.rename(building)
        raise


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        msg = f"{target}: exists already, and nothing is ever overwritten. Choose another path, or remove it first."
        raise IndexExistsError(msg)


def open_file(root: Path, folder: str, record: FileRecord) -> BinaryIO:
    """Open a file that the catalog names; while it is open its bytes stay, even if a merge removes its name.

    Raises:
        CorruptIndexError: it is missing, has another size, or is no regular file of the index.
        StorageError: files, memory or permissions are wanting, or the disk fails, whatever the file may be.
    """
    path = root / folder / record.name
    # a FIFO must not make us wait, a link must not lead us elsewhere; Windows has neither flag
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    if path.is_symlink() or path.parent.is_symlink():
        msg = f"{path}: a link, not a file of the index."
        raise CorruptIndexError(f"{msg} {_advice(root)}")
    try:
        descriptor = os.open(path, flags)
    except OSError as err:
        msg = f"{path}: cannot be opened ({err.strerror}), the catalog expects {record.size:,} bytes."
        raise unreadable(path, err) or CorruptIndexError(f"{msg} {_advice(root)}") from err
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size != record.size:
        os.close(descriptor)
        msg = f"{path}: {status.st_size:,} bytes on disk or no regular file, the catalog expects {record.size:,} bytes."
        raise CorruptIndexError(f"{msg} {_advice(root)}")
    return io.FileIO(path, opener=lambda *_: descriptor)


def _advice(root: Path) -> str:
    return f"Run colbert-rag verify {root} to see all that is damaged, and restore it from a backup."


def copy_file(file: BinaryIO, target: Path) -> Iterator[int]:
    """Copy an open file to a new one and make it durable; yields the bytes done by each step.

    Raises:
        CorruptIndexError: the copy is there already, so the catalog names its file twice.
        StorageError: the file cannot be read, or the copy not be written.
    """
    # nobody else writes to a folder that is about to appear
    if os.path.lexists(target):
        msg = f"{target.parent.name}/{target.name}: the catalog names it twice. Restore the index from a backup."
        raise CorruptIndexError(msg)
    with disk_errors(target):
        copy = target.open("xb")
    try:
        while block := _read(file):
            with disk_errors(target):
                copy.write(block)
            yield len(block)
        with disk_errors(target):
            copy.flush()
    finally:
        # closing writes what is buffered, which a full disk refuses again
        with suppress(OSError):
            copy.close()
    sync_file(target)


def _read(file: BinaryIO) -> bytes:
    try:
        return file.read(_BLOCK)
    except OSError as err:
        msg = f"{file.name}: cannot be read ({err.strerror}). Restore it from a backup."
        raise unreadable(Path(file.name), err) or CorruptIndexError(msg) from err


def copy_catalog(reading: Reading, folder: Path, progress: Progress) -> None:
    """Copy the catalog as a read transaction sees it, with what its log holds, and make it durable.

    Raises:
        StorageError: the copy cannot be written.
    """

    def tell(status: int, remaining: int, total: int) -> None:
        progress("catalog", total - remaining, total)

    path = folder / CATALOG
    make_file(path)
    with ExitStack() as stack:
        with read_errors(path):
            stack.enter_context(using(path))
        # not of the operating system's: an error of the caller's progress stays that error
        stack.enter_context(sqlite_errors(folder))
        copy = sqlite3.connect(path, isolation_level=None)
        try:
            copy.execute("PRAGMA synchronous = FULL")
            # SQLite copies the commit that this connection reads, whatever is written meanwhile
            reading.connection.backup(copy, pages=_PAGES, progress=tell)
        finally:
            copy.close()
    sync_file(path)
