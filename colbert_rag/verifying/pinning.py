"""The files of a commit, held open from the start, so that a merge that removes their names takes nothing away."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from colbert_rag.errors import CorruptIndexError, StorageError
from colbert_rag.storage import CatalogState, FileRecord
from colbert_rag.storage.array_header import HEADER_BYTES
from colbert_rag.storage.copying import open_file
from colbert_rag.storage.system_errors import UnreadableError, shortage

__all__ = ["PinnedFiles", "pinned_files"]


@dataclass(frozen=True)
class PinnedFiles:
    """What stands under each name that a commit gives.

    Attributes:
        opened: By folder and name of the file.
        problems: Of what could not be opened as the committed file, by the same.
    """

    opened: dict[tuple[str, str], BinaryIO] = field(default_factory=dict)
    problems: dict[tuple[str, str], str] = field(default_factory=dict)

    def statuses(self, folder: str) -> dict[Path, os.stat_result]:
        """Of the open files of a folder."""
        found = (file for (name, _), file in self.opened.items() if name == folder)
        return {Path(file.name): os.fstat(file.fileno()) for file in found}

    def int64(self, folder: str, record: FileRecord) -> NDArray[np.int64]:
        """The numbers of an array file, whose header is not looked at."""
        file = self.opened[folder, record.name]
        file.seek(HEADER_BYTES)
        return np.frombuffer(file.read(), "<i8").astype(np.int64, copy=False)


@contextmanager
def pinned_files(root: Path, state: CatalogState) -> Iterator[PinnedFiles]:
    """Open every file that the catalog names, until the block ends.

    Raises:
        StorageError: files, memory or permissions are wanting.
    """
    pinned = PinnedFiles()
    with ExitStack() as stack:
        for folder, record in state.files:
            found = _opened(root, folder, record)
            if isinstance(found, str):
                pinned.problems[folder, record.name] = found
            else:
                pinned.opened[folder, record.name] = stack.enter_context(found)
        yield pinned


def _opened(root: Path, folder: str, record: FileRecord) -> BinaryIO | str:
    """The file, or what is wrong with it."""
    path = root / folder / record.name
    try:
        status = path.lstat()
        if path.parent.is_symlink() or not stat.S_ISREG(status.st_mode):
            return "not a regular file"
        if status.st_size != record.size:
            return f"{status.st_size:,} bytes on disk, {record.size:,} committed"
        return open_file(root, folder, record)
    except (CorruptIndexError, UnreadableError) as err:
        return f"cannot be read ({err})"
    except StorageError:
        raise
    except OSError as err:
        lacking = shortage(path, err)
        if lacking is not None:
            raise lacking from err
        return f"cannot be read ({err.strerror})"
