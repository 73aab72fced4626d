"""Files that claim more than the disk holds of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from colbert_rag.errors import CorruptIndexError

__all__ = ["check_filled"]

# what compression saves of a real index is far less than a file of holes does
_MOST_HOLES = 64 << 20


def check_filled(folder: Path, files: Mapping[Path, os.stat_result]) -> None:
    """Refuse files that claim terabytes and hold nothing: whoever reads them would never come to an end.

    Raises:
        CorruptIndexError: they are larger than 64 MiB together and less than a 64th of that is on the disk; naming the
            largest.
    """
    size = sum(status.st_size for status in files.values())
    # Windows does not say; a file system that counts nothing at all says 0
    on_disk = sum(getattr(status, "st_blocks", 0) for status in files.values()) * 512
    if size > _MOST_HOLES and 0 < on_disk * 64 < size:
        # ZFS counts a block only when it has written it, seconds after it promised to
        on_disk = max(on_disk, sum(_data_bytes(path) for path, status in files.items() if stat.S_ISREG(status.st_mode)))
    if size > _MOST_HOLES and 0 < on_disk * 64 < size:
        largest = max(files, key=lambda path: files[path].st_size)
        msg = (
            f"{folder}: {size:,} bytes in files, {on_disk:,} of them on the disk; the largest is {largest.name}. "
            f"Restore the index from a backup."
        )
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
