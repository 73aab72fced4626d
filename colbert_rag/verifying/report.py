"""The checks in their order, and what they found together."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from colbert_rag.errors import ColbertRagError, IndexLockedError
from colbert_rag.storage import Catalog, CatalogState, Reading
from colbert_rag.storage.access import CATALOG, CatalogFiles, index_folder
from colbert_rag.storage.catalog import read_state
from colbert_rag.storage.guards import work_bounded
from colbert_rag.storage.leftovers import leftovers
from colbert_rag.storage.write_ahead_log import check_log
from colbert_rag.types import Progress, VerifyReport, silent
from colbert_rag.verifying.files import extra_files, file_problems
from colbert_rag.verifying.guarding import ProgressError, damage_noted, guarded
from colbert_rag.verifying.pinning import PinnedFiles, pinned_files
from colbert_rag.verifying.rows import (
    attribute_problems,
    check_numbers,
    document_problems,
    key_problems,
    pair_problems,
    size_problems,
)
from colbert_rag.verifying.structure import (
    LOG,
    check_catalog_file,
    check_tables,
    check_write_version,
    page_problems,
    reading_catalog,
)
from colbert_rag.verifying.words import word_problems

__all__ = ["verify_folder", "verify_index"]

_ATTEMPTS = 5


def verify_index(root: Path, catalog: Catalog, progress: Progress) -> VerifyReport:
    """As :func:`verify_folder`, of an index that is open."""
    catalog.check_usable()
    return verify_folder(root, progress)


def verify_folder(path: str | Path, progress: Progress | None = None) -> VerifyReport:
    """Compare every byte of an index with what was committed, and every record with every other.

    Nothing is repaired and no byte of the index is changed. Damage is never an error: an index that cannot even be
    opened can be verified.

    Args:
        path: The folder.
        progress: Told the stages "verify" (bytes of vectors) and "verify texts" (documents).

    Raises:
        IndexNotFoundError: there is no catalog in the folder.
        IndexClosedError: this is a forked child, and another thread of its parent was using the index.
        IndexLockedError: another process is recovering the catalog after a crash, or writes without a pause.
        ReadOnlyIndexError: the last writer did not finish, and without write access its log cannot be read along.
        StorageError: open files, memory, temporary space or permissions do not suffice for a look.
    """
    root = index_folder(path)
    for _ in range(_ATTEMPTS):
        look = _Look(root, guarded(progress or silent))
        commits = _commits(root)
        try:
            look.run()
        except ProgressError as err:
            raise err.error from None
        # what a writer does meanwhile may look like damage
        if not look.is_overtaken and (not look.problems or commits == _commits(root)):
            break
    if look.is_overtaken:
        msg = f"{root}: a writer commits or merges faster than a commit can be looked at. Repeat when it pauses."
        raise IndexLockedError(msg)
    return look.report()


def _commits(root: Path) -> int | None:
    """Number of the newest commit; None where it cannot be read."""
    try:
        with reading_catalog(root) as connection, work_bounded(connection):
            return Reading(connection).commits()
    except (sqlite3.Error, OSError, ValueError):
        return None


def _folders(root: Path) -> set[str]:
    """Those that the newest commit names."""
    with reading_catalog(root) as connection:
        return read_state(Reading(connection), root).folders


class _Look:
    """All checks of one commit; those that trust what was checked before them come after it."""

    def __init__(self, root: Path, progress: Progress) -> None:
        self._root = root
        self._progress = progress
        self._state: CatalogState | None = None
        self._leftovers: list[str] = []
        self._n_documents = 0
        self.problems: list[str] = []
        # whether a writer changed what was looked at: what was found is of no commit, or its files were gone
        self.is_overtaken = False

    @property
    def commits(self) -> int | None:
        """Number of the commit; None where it could not be read."""
        return None if self._state is None else self._state.commits

    def report(self) -> VerifyReport:
        """What was found."""
        files = [] if self._state is None else [record for _, record in self._state.files]
        size = sum(record.size for record in files)
        return VerifyReport(tuple(self.problems), len(files), size, self._n_documents, tuple(self._leftovers))

    def run(self) -> None:
        """Make every check that can be made."""
        before = CatalogFiles.of(self._root)
        try:
            self._check_all()
        except ColbertRagError:
            if not before.is_overtaken(self._root):
                raise
            self.is_overtaken = True
        # without a lock pages of two commits may have been read, or of none
        self.is_overtaken |= bool(self.problems) and before.is_overtaken(self._root)

    def _check_all(self) -> None:
        with damage_noted(self.problems, self._root):
            check_catalog_file(self._root)
            log = check_log(self._root / LOG)
            self.problems += [log.problem] if log.problem else []
            with reading_catalog(self._root) as connection:
                self._check_commit(Reading(connection))
            self._leftovers += [log.tail] if log.tail else []

    def _check_commit(self, reading: Reading) -> None:
        found: list[str] = []
        with damage_noted(found, self._root):
            check_tables(reading.connection, self._root)
            check_write_version(self._root)
        with ExitStack() as files:
            pinned = PinnedFiles()
            with damage_noted(self.problems, self._root):
                # what stands in the place of a table may have no end
                with work_bounded(reading.connection):
                    self._state = read_state(reading, self._root)
                pinned = files.enter_context(pinned_files(self._root, self._state))
            self.is_overtaken = bool(pinned.problems) and self.commits != _commits(self._root)
            if not self.is_overtaken:
                self._check(reading, pinned, found)

    def _check(self, reading: Reading, pinned: PinnedFiles, found: list[str]) -> None:
        """Make the checks that take their time."""
        if not found:
            with damage_noted(found, self._root):
                found += _in_catalog(page_problems(reading.connection, self._root))
        self.problems += found
        if self._state is not None:
            self._note(file_problems(self._root, self._state, pinned, self._progress))
            self._note(extra_files(self._root, self._state))
            with damage_noted(self.problems, self._root):
                self._leftovers += [path.name for path in leftovers(self._root, self._state.folders)]
        # pages may lead in a circle
        if not found:
            self._check_rows(reading, pinned)

    def _check_rows(self, reading: Reading, pinned: PinnedFiles) -> None:
        with damage_noted(self.problems, self._root):
            self._n_documents = reading.count()
        self._note(_in_catalog(pair_problems(reading.connection)))
        self._note(_in_catalog(document_problems(reading)))
        if self._state is not None and not self.problems:
            with damage_noted(self.problems, self._root):
                check_numbers(self._root, self._state, partial(_folders, self._root))
                self._note(key_problems(self._state, pinned, reading))
            self._note(_in_catalog(size_problems(reading.connection)))
            self._note(_in_catalog(attribute_problems(reading)))
            self._note(_in_catalog(word_problems(reading, self._progress)))

    def _note(self, lines: Iterable[str]) -> None:
        with damage_noted(self.problems, self._root):
            for line in lines:
                self.problems.append(line)


def _in_catalog(lines: Iterable[str]) -> Iterator[str]:
    return (f"{CATALOG}: {line}" for line in lines)
