"""Array files as they are read: mapped, after all but their data was checked; they are untrusted input."""

from __future__ import annotations

import math
import re
import stat
import sys
from collections.abc import Iterable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.errors import CorruptIndexError, StorageError
from colbert_rag.storage.array_header import HEADER_BYTES, array_header
from colbert_rag.storage.holes import check_filled
from colbert_rag.storage.records import FileRecord
from colbert_rag.storage.system_errors import unreadable

__all__ = ["check_recorded", "let_go", "map_array"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


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
    header, raw = _mapped(path, record)
    if header != array_header(np.dtype(dtype), (n_rows, *row_shape)):
        msg = f"{path}: the array header differs from what the catalog expects ({dtype} {(n_rows, *row_shape)})."
        raise CorruptIndexError(f"{msg} Restore it from a backup.")
    data_bytes = np.dtype(dtype).itemsize * n_rows * math.prod(row_shape)
    if record.size != HEADER_BYTES + data_bytes:
        msg = f"{path}: {record.size} bytes in the catalog, {HEADER_BYTES + data_bytes} for its shape."
        raise CorruptIndexError(f"{msg} Restore the index from a backup.")
    return np.frombuffer(raw, dtype, offset=HEADER_BYTES).reshape(n_rows, *row_shape)


def let_go(array: NDArray[Any]) -> None:
    """Take the pages of a mapped array out of this process; they come back when they are read again."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    raw = owner.obj if isinstance(owner, memoryview) else owner
    # Windows has no such call
    if sys.platform != "win32" and isinstance(raw, mmap):
        from mmap import MADV_DONTNEED

        raw.madvise(MADV_DONTNEED)


def _mapped(path: Path, record: FileRecord) -> tuple[bytes, mmap]:
    """The header of a file, and all of it mapped."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(HEADER_BYTES), mmap(file.fileno(), record.size, access=ACCESS_READ)
    except OSError as err:
        # of a file of holes there may be more than any memory
        check_recorded(path.parent, [record])
        raise _missing(path, record, err) from err
    except ValueError as err:
        msg = f"{path}: became shorter while it was opened ({err}). Restore it from a backup."
        raise CorruptIndexError(msg) from err


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
        msg = f"{folder}: {record.name!r} is no file name of an index. Restore the index from a backup."
        raise CorruptIndexError(msg)
    path = folder / record.name
    try:
        status, outside = path.lstat(), folder.is_symlink()
    except OSError as err:
        raise _missing(path, record, err) from err
    if outside or not stat.S_ISREG(status.st_mode):
        msg = f"{path}: not a regular file of the index. Restore it from a backup."
        raise CorruptIndexError(msg)
    if status.st_size != record.size:
        msg = f"{path}: {status.st_size} bytes on disk, {record.size} in the catalog. Restore it from a backup."
        raise CorruptIndexError(msg)
    return path


def _missing(path: Path, record: FileRecord, err: OSError) -> CorruptIndexError | StorageError:
    return unreadable(path, err) or CorruptIndexError(
        f"{path}: missing or unreadable ({err.strerror}), the catalog expects {record.size:,} bytes. "
        "Restore it from a backup."
    )
