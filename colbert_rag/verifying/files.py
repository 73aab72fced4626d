"""Array files against what the catalog says of them, and what else lies in the folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from colbert_rag.errors import CorruptIndexError
from colbert_rag.storage import CatalogState, FileRecord, is_data_folder
from colbert_rag.storage.connection import CATALOG
from colbert_rag.storage.files import sha256_of_open
from colbert_rag.storage.holes import check_filled
from colbert_rag.storage.leftovers import leftovers
from colbert_rag.storage.system_errors import shortage
from colbert_rag.types import Progress
from colbert_rag.verifying.pinning import PinnedFiles

__all__ = ["extra_files", "file_problems"]

# an empty rollback journal is none, and a filled one was refused before anything was read
_CATALOG_FILES = {CATALOG, CATALOG + "-wal", CATALOG + "-shm", CATALOG + "-journal"}
# what file managers leave in every folder, and NFS of a file that was removed while it was open
_OF_THE_SYSTEM = re.compile(r"\.DS_Store|Thumbs\.db|desktop\.ini|\._.*|\.nfs.*", re.IGNORECASE)


def file_problems(root: Path, state: CatalogState, pinned: PinnedFiles, progress: Progress) -> Iterator[str]:
    """Read every file that the catalog names, through what was opened before a merge could remove its name."""
    done, total = 0, sum(record.size for _, record in state.files)
    hollow = {folder for folder in state.folders if _is_hollow(root / folder, pinned.statuses(folder))}
    yield from (f"{folder}: its files are mostly holes, which were not read" for folder in sorted(hollow))
    for folder, record in state.files:
        problem = None if folder in hollow else _file_problem(pinned, folder, record)
        if problem is not None:
            yield f"{folder}/{record.name}: {problem}"
        done += record.size
        progress("verify", done, total)


def _file_problem(pinned: PinnedFiles, folder: str, record: FileRecord) -> str | None:
    file = pinned.opened.get((folder, record.name))
    if file is None:
        return pinned.problems[folder, record.name]
    try:
        file.seek(0)
        is_committed = sha256_of_open(file) == record.sha256
    except OSError as err:
        lacking = shortage(Path(file.name), err)
        if lacking is not None:
            raise lacking from err
        return f"cannot be read ({err.strerror})"
    return None if is_committed else "content differs from what was committed (sha256)"


def _is_hollow(folder: Path, statuses: dict[Path, os.stat_result]) -> bool:
    try:
        check_filled(folder, statuses)
    except CorruptIndexError:
        return True
    return False


def extra_files(root: Path, state: CatalogState) -> Iterator[str]:
    """Files that nobody named and neither an unfinished write nor the system left."""
    named: dict[str, set[str]] = {}
    for folder, record in state.files:
        named.setdefault(folder, set()).add(record.name)
    known = _CATALOG_FILES | {path.name for path in leftovers(root, state.folders)}
    for path in sorted(root.iterdir()):
        if path.name in named and path.is_dir() and not path.is_symlink():
            names = sorted({p.name for p in path.iterdir() if not _OF_THE_SYSTEM.fullmatch(p.name)} - named[path.name])
            yield from (f"{path.name}/{name}: not named by the catalog" for name in names)
        elif _OF_THE_SYSTEM.fullmatch(path.name):
            continue
        # a writer may have begun or removed a folder since the look for leftovers
        elif path.name not in named and path.name not in known and not is_data_folder(path) and os.path.lexists(path):
            yield f"{path.name}: not part of the index; remove it"
