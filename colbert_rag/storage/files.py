"""The one place that writes, syncs, names and removes index files.

Array files are written once under a fresh name, made durable, and never changed: a mapped file never changes under a
reader.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from colbert_rag.storage.array_header import HEADER_BYTES, array_header
from colbert_rag.storage.records import FileRecord
from colbert_rag.storage.system_errors import disk_errors

__all__ = [
    "ArrayWriter",
    "make_file",
    "make_folder",
    "make_folders",
    "publish",
    "remove_file",
    "remove_folder",
    "sha256_of",
    "sha256_of_open",
    "sync_file",
    "sync_folder",
    "write_array",
]

_BLOCK = 1 << 20
# what a file system says that has no hard links, or that syncs no folders
_NOT_SUPPORTED = frozenset({errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class ArrayWriter:
    """Appends rows to a new ``.npy`` file whose length is not known in advance.

    Args:
        path: A file that does not exist.
        dtype: One of ``DTYPES``.
        row_shape: ``()`` for a vector, ``(n,)`` for a matrix of n columns.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any] | type, row_shape: tuple[int, ...] = ()) -> None:
        self._path = path
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._row_shape = row_shape
        self.n_rows = 0
        with disk_errors(path):
            self._file = path.open("xb")
            self._file.write(bytes(HEADER_BYTES))

    def append(self, rows: NDArray[Any]) -> None:
        """Append ``(n, *row_shape)`` rows."""
        block = np.ascontiguousarray(rows, self._dtype)
        with disk_errors(self._path):
            self._file.write(block.reshape(-1).view(np.uint8).data)
        self.n_rows += len(block)

    def flush(self) -> None:
        """Hand everything appended so far to the operating system."""
        with disk_errors(self._path):
            self._file.flush()

    def finish(self) -> FileRecord:
        """Write the header, make the file durable and describe it."""
        with disk_errors(self._path), self._file as file:
            file.seek(0)
            file.write(array_header(self._dtype, (self.n_rows, *self._row_shape)))
            file.flush()
            _sync(file.fileno())
        with disk_errors(self._path):
            return FileRecord(name=self._path.name, size=self._path.stat().st_size, sha256=sha256_of(self._path))

    def abandon(self) -> None:
        """Close without finishing; the file is left to whoever removes its folder."""
        # closing writes what is buffered, which a full disk refuses again
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.abandon()


def write_array(path: Path, array: NDArray[Any]) -> FileRecord:
    """Write one array to a new file and make it durable."""
    with ArrayWriter(path, array.dtype, array.shape[1:]) as writer:
        writer.append(array)
        return writer.finish()


def _sync(descriptor: int) -> None:
    """Have the disk itself, and not its cache, hold what was written."""
    if sys.platform == "darwin":
        import fcntl

        # not every file system there has it
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file durable; no connection of SQLite's in this process may have it open.

    Closing a file drops every lock that the process holds on it (POSIX).
    """
    with disk_errors(path), path.open("rb+") as file:
        _sync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable (POSIX; on Windows the file system does it)."""
    if os.name == "nt":
        return
    with disk_errors(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            _sync(descriptor)
        except OSError as err:
            if err.errno not in _NOT_SUPPORTED:
                raise
        finally:
            os.close(descriptor)


def make_file(path: Path) -> None:
    """Make one new, empty file."""
    with disk_errors(path):
        path.open("xb").close()


def make_folder(path: Path) -> None:
    """Make one new folder; its name is durable when its parent is synced."""
    with disk_errors(path):
        path.mkdir()


def make_folders(path: Path) -> None:
    """Make a folder and its missing parents, and their names durable; it may exist."""
    missing = [path, *(parent for parent in path.parents if not parent.exists())]
    for folder in reversed(missing):
        with disk_errors(folder):
            folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def publish(building: Path, path: Path) -> None:
    """Give a finished file its name as well; the second of two who do so is refused, whatever the timing.

    Raises:
        FileExistsError: the name is taken.
        StorageError: the folder cannot be written.
    """
    try:
        os.link(building, path)
    except FileExistsError:
        raise
    except OSError as err:
        with disk_errors(path):
            if os.name != "nt" and err.errno not in _NOT_SUPPORTED:
                raise
            # a file system without hard links
            building.rename(path)


def remove_file(path: Path) -> None:
    """Remove a file that does not belong to the index; what cannot be removed stays until a later sweep."""
    with suppress(OSError):
        path.unlink()


def remove_folder(path: Path) -> None:
    """Remove a folder that no catalog row names; what a reader still maps stays until a later sweep."""
    shutil.rmtree(path, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """The digest of a file's bytes, in lower-case hexadecimal."""
    with path.open("rb") as file:
        return sha256_of_open(file)


def sha256_of_open(file: BinaryIO) -> str:
    """The digest of the bytes from where the file stands to its end."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
