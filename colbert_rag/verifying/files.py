"""Array files against what the catalog says of them, and what else lies in the folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from colbert_rag.errors import CorruptIndexError
from colbert_rag.storage import CatalogState, FileRecord, is_data_folder, sha256_of
from colbert_rag.storage.connection import CATALOG
from colbert_rag.storage.files import check_filled
from colbert_rag.storage.leftovers import leftovers
from colbert_rag.types import Progress

__all__ = ["extra_files", "file_problems"]

_CATALOG_FILES = {CATALOG, CATALOG + "-wal", CATALOG + "-shm"}


def file_problems(root: Path, state: CatalogState, progress: Progress) -> Iterator[str]:
    """Read every file that the catalog names."""
    done, total = 0, sum(record.size for _, record in state.files)
    hollow = {folder for folder in state.folders if _is_hollow(root / folder)}
    yield from (f"{folder}: its files are mostly holes, which were not read" for folder in sorted(hollow))
    for folder, record in state.files:
        problem = None if folder in hollow else _file_problem(root / folder / record.name, record)
        if problem is not None:
            yield f"{folder}/{record.name}: {problem}"
        done += record.size
        progress("verify", done, total)


def _file_problem(path: Path, record: FileRecord) -> str | None:
    try:
        status = path.lstat()
        if path.parent.is_symlink() or not stat.S_ISREG(status.st_mode):
            return "not a regular file"
        if status.st_size != record.size:
            return f"{status.st_size:,} bytes on disk, {record.size:,} committed"
        if sha256_of(path) != record.sha256:
            return "content differs from what was committed (sha256)"
    except OSError as err:
        return f"cannot be read ({err.strerror})"
    return None


def _is_hollow(folder: Path) -> bool:
    try:
        check_filled(folder, [path.lstat() for path in folder.iterdir()])
    except CorruptIndexError:
        return True
    except OSError:
        return False
    return False


def extra_files(root: Path, state: CatalogState) -> Iterator[str]:
    """Files that nobody named and no unfinished write left."""
    named: dict[str, set[str]] = {}
    for folder, record in state.files:
        named.setdefault(folder, set()).add(record.name)
    known = _CATALOG_FILES | {path.name for path in leftovers(root, state.folders)}
    for path in sorted(root.iterdir()):
        if path.name in named and path.is_dir() and not path.is_symlink():
            names = sorted(p.name for p in path.iterdir() if p.name not in named[path.name])
            yield from (f"{path.name}/{name}: not named by the catalog" for name in names)
        # a writer may have begun or removed a folder since the look for leftovers
        elif path.name not in named and path.name not in known and not is_data_folder(path) and os.path.lexists(path):
            yield f"{path.name}: not part of the index; remove it"
