"""A second copy of an index: one whole commit, taken while others search and write."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from colbert_rag.attempts import read_newest
from colbert_rag.callers import caller_errors_raised, calling_progress
from colbert_rag.errors import CorruptIndexError, IndexExistsError
from colbert_rag.storage import Catalog, CatalogState, Reading
from colbert_rag.storage.copying import appearing_folder, copy_catalog, copy_file, open_file
from colbert_rag.storage.files import make_folder, sync_folder
from colbert_rag.storage.holes import check_filled
from colbert_rag.types import BackupReport, Progress
from colbert_rag.verifying import verify_folder

__all__ = ["backup_index"]

_Pinned = list[tuple[Path, BinaryIO]]


def backup_index(root: Path, catalog: Catalog, target: Path, progress: Progress) -> BackupReport:
    """Copy one commit to a new folder, which appears there whole and verified or not at all.

    Raises:
        IndexExistsError: there is something under the target's name, or it lies inside the index.
        CorruptIndexError: the index is damaged, or its files are mostly holes; nothing appears.
        StorageError: the copy cannot be written.
    """
    if target.resolve().is_relative_to(root.resolve()):
        msg = f"{target}: lies inside the index {root}. Choose a place outside, best on another disk."
        raise IndexExistsError(msg)
    tell = calling_progress(progress)
    with caller_errors_raised(), appearing_folder(target) as building, ExitStack() as files:
        pinned = _copy_catalog(root, catalog, building, files, tell)
        _copy_files(pinned, building, tell)
        report = verify_folder(building, tell)
        if not report.ok:
            found = "; ".join(report.problems[:5])
            msg = (
                f"{root}: a copy of it is not sound, so none was kept: {found}. Run: colbert-rag verify {root}. If "
                f"that finds nothing, the disk of the copy fails: choose another. Otherwise restore an older backup, "
                f"or build a new index from what is sound: colbert-rag restore {root} NEW"
            )
            raise CorruptIndexError(msg)
    return BackupReport(str(target), report.documents, report.files, report.bytes)


def _copy_catalog(root: Path, catalog: Catalog, building: Path, files: ExitStack, progress: Progress) -> _Pinned:
    """Copy the newest commit's rows and hold its files open, so that they can be copied after the transaction."""

    def copy(reading: Reading, _: int) -> _Pinned:
        pinned = _pin(root, catalog.state(reading), files)
        copy_catalog(reading, building, progress)
        return pinned

    return read_newest(catalog, copy)


def _pin(root: Path, state: CatalogState, files: ExitStack) -> _Pinned:
    with ExitStack() as opened:
        pinned = [
            (Path(folder, record.name), opened.enter_context(open_file(root, folder, record)))
            for folder, record in state.files
        ]
        _check_filled(root, pinned)
        files.push(opened.pop_all())
    return pinned


def _check_filled(root: Path, pinned: _Pinned) -> None:
    """Refuse what verify finds hollow before it is copied: the holes would be zeros of the copy's disk.

    Raises:
        CorruptIndexError: naming the folder and its largest file.
    """
    statuses: dict[Path, dict[Path, os.stat_result]] = {}
    for place, file in pinned:
        statuses.setdefault(root / place.parent, {})[root / place] = os.fstat(file.fileno())
    for folder, found in statuses.items():
        check_filled(folder, found)


def _copy_files(pinned: _Pinned, building: Path, progress: Progress) -> None:
    total = sum(file.seek(0, 2) for _, file in pinned)
    done = 0
    folders = {building / place.parent for place, _ in pinned}
    for folder in folders:
        make_folder(folder)
    for place, file in pinned:
        file.seek(0)
        for size in copy_file(file, building / place):
            done += size
            progress("copy", done, total)
    for folder in folders:
        sync_folder(folder)
