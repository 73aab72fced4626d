"""The one place that writes, syncs, names, maps and removes index files.

Array files are ``.npy`` version 1.0, little-endian, C order, no pickles. They are written once under
a fresh name, made durable, and never changed: a mapped file never changes under a reader.
Everything read here is untrusted input.
"""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from colbert_rag.errors import ColbertRagError, CorruptIndexError, ReadOnlyIndexError, StorageError
from colbert_rag.storage.records import FileRecord

__all__ = [
    "HEADER_BYTES",
    "ArrayWriter",
    "check_filled",
    "check_recorded",
    "disk_errors",
    "make_folder",
    "make_folders",
    "map_array",
    "publish",
    "remove_file",
    "remove_folder",
    "sha256_of",
    "sha256_of_open",
    "shortage",
    "sync_file",
    "sync_folder",
    "write_array",
]

DTYPES = frozenset({"uint8", "uint16", "uint32", "int32", "int64", "float16", "float32"})
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
# room for any shape that we write; the header is written again when the length is known
HEADER_BYTES = 128
_BLOCK = 1 << 20
# what a file system says that has no hard links, or that syncs no folders
_NOT_SUPPORTED = frozenset({errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_SHORTAGES = {
    errno.EMFILE: "Too many files are open: close some or raise the limit (ulimit -n), and repeat.",
    errno.ENFILE: "Too many files are open on this machine: close some, and repeat.",
    errno.ENOMEM: "Free memory, and repeat.",
    errno.ENOSPC: "Free space, and repeat.",
    errno.EACCES: "Check the permissions of the folder, and repeat.",
}
# what compression saves of a real index is far less than a file of holes does
_MOST_HOLES = 64 << 20


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
            file.write(_header(self._dtype, (self.n_rows, *self._row_shape)))
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


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the errors of the operating system into typed ones that name the path and what to do."""
    try:
        yield
    except ColbertRagError:
        raise
    except OSError as err:
        what = f"{path}: cannot be written ({err.strerror}). What was committed before stands."
        if err.errno in _FORBIDDEN:
            msg = f"{what} Check the permissions of the folder."
            raise ReadOnlyIndexError(msg) from err
        if err.errno in {errno.EMFILE, errno.ENFILE}:
            msg = f"{what} Too many files are open: close some or raise the limit (ulimit -n), and repeat."
            raise StorageError(msg) from err
        msg = f"{what} Free space or check the disk, and repeat."
        raise StorageError(msg) from err


def _sync(descriptor: int) -> None:
    """Have the disk itself, and not its cache, hold what was written."""
    if sys.platform == "darwin":
        import fcntl

        # not every file system there has it
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def write_array(path: Path, array: NDArray[Any]) -> FileRecord:
    """Write one array to a new file and make it durable."""
    with ArrayWriter(path, array.dtype, array.shape[1:]) as writer:
        writer.append(array)
        return writer.finish()


def map_array(folder: Path, record: FileRecord, dtype: str, row_shape: tuple[int, ...], n_rows: int) -> NDArray[Any]:
    """Map an array file for reading, after checking everything but its data.

    Args:
        folder: The folder of the file.
        record: What the catalog knows of it.
        dtype: The expected type.
        row_shape: The expected shape of a row.
        n_rows: The expected number of rows.

    Raises:
        CorruptIndexError: the file is missing, is no regular file, or differs in size, type or shape.
    """
    path = _safe_path(folder, record)
    header = _read_header(path, record)
    expected = _header(np.dtype(dtype), (n_rows, *row_shape))
    if header != expected:
        msg = f"{path}: the array header differs from what the catalog expects ({dtype} {(n_rows, *row_shape)})."
        raise CorruptIndexError(msg)
    data_bytes = np.dtype(dtype).itemsize * n_rows * math.prod(row_shape)
    if record.size != HEADER_BYTES + data_bytes:
        msg = f"{path}: {record.size} bytes in the catalog, {HEADER_BYTES + data_bytes} for its shape."
        raise CorruptIndexError(msg)
    try:
        raw = np.memmap(path, np.uint8, "r")
    except OSError as err:
        # of a file of holes there may be more than any memory
        check_recorded(folder, [record])
        raise _missing(path, record, err) from err
    return raw[HEADER_BYTES:].view(np.ndarray).view(dtype).reshape(n_rows, *row_shape)


def check_filled(folder: Path, files: Mapping[Path, os.stat_result]) -> None:
    """Refuse files that claim terabytes and hold nothing: whoever reads them would never come to an end.

    Raises:
        CorruptIndexError: they are larger than 64 MiB together and less than a 64th of that is on the disk.
    """
    size = sum(status.st_size for status in files.values())
    # Windows does not say; a file system that counts nothing at all says 0
    on_disk = sum(getattr(status, "st_blocks", 0) for status in files.values()) * 512
    if size > _MOST_HOLES and 0 < on_disk * 64 < size:
        # ZFS counts a block only when it has written it, seconds after it promised to
        on_disk = max(on_disk, sum(_data_bytes(path) for path, status in files.items() if stat.S_ISREG(status.st_mode)))
    if size > _MOST_HOLES and 0 < on_disk * 64 < size:
        msg = f"{folder}: {size:,} bytes in files, {on_disk:,} of them on the disk. Restore the index from a backup."
        raise CorruptIndexError(msg)


def _data_bytes(path: Path) -> int:
    """Bytes of a file that are in no hole; 0 where the system does not say."""
    n = end = 0
    if not hasattr(os, "SEEK_DATA"):
        return n
    # no more data, or a file system that does not know
    with suppress(OSError), path.open("rb", buffering=0) as file:
        while True:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            n += end - start
    return n


def check_recorded(folder: Path, records: Iterable[FileRecord]) -> None:
    """:func:`check_filled` for files that the catalog names.

    Raises:
        CorruptIndexError: also where a file has gone; a merge may have removed it since it was mapped.
    """
    files = {}
    for record in records:
        path = folder / record.name
        try:
            files[path] = path.lstat()
        except OSError as err:
            raise _missing(path, record, err) from err
    check_filled(folder, files)


def _safe_path(folder: Path, record: FileRecord) -> Path:
    if not _NAME.fullmatch(record.name):
        msg = f"{folder}: {record.name!r} is no file name of an index."
        raise CorruptIndexError(msg)
    path = folder / record.name
    try:
        status, outside = path.lstat(), folder.is_symlink()
    except OSError as err:
        raise _missing(path, record, err) from err
    if outside or not stat.S_ISREG(status.st_mode):
        msg = f"{path}: not a regular file of the index."
        raise CorruptIndexError(msg)
    if status.st_size != record.size:
        msg = f"{path}: {status.st_size} bytes on disk, {record.size} in the catalog. Restore it from a backup."
        raise CorruptIndexError(msg)
    return path


def _read_header(path: Path, record: FileRecord) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEADER_BYTES)
    except OSError as err:
        raise _missing(path, record, err) from err


def _missing(path: Path, record: FileRecord, err: OSError) -> CorruptIndexError | StorageError:
    return shortage(path, err) or CorruptIndexError(
        f"{path}: missing or unreadable, the catalog expects {record.size} bytes. Restore it from a backup."
    )


def shortage(path: Path, err: OSError) -> StorageError | None:
    """What a reader lacks who could not read a file that may well be whole; None where the file is to blame."""
    advice = _SHORTAGES.get(err.errno or 0)
    return None if advice is None else StorageError(f"{path}: cannot be read ({err.strerror}). {advice}")


def _header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The exact bytes that we write before the data; a reader compares, it does not parse."""
    if dtype.name not in DTYPES:
        msg = f"arrays of {dtype} are not stored"
        raise ValueError(msg)
    text = repr({"descr": npy.dtype_to_descr(dtype.newbyteorder("<")), "fortran_order": False, "shape": shape})
    start = npy.magic(1, 0)
    padding = HEADER_BYTES - len(start) - 2 - len(text) - 1
    body = (text + " " * padding + "\n").encode("latin1")
    buffer = io.BytesIO()
    buffer.write(start)
    buffer.write(len(body).to_bytes(2, "little"))
    buffer.write(body)
    return buffer.getvalue()


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


def sync_file(path: Path) -> None:
    """Make the content of a file durable; no connection of SQLite's in this process may have it open.

    Closing a file drops every lock that the process holds on it (POSIX).
    """
    with disk_errors(path), path.open("rb+") as file:
        _sync(file.fileno())


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
