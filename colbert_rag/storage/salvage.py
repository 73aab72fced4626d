"""Reading what can still be read of a damaged catalog, row by row; nothing in its folder is changed."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from colbert_rag.errors import CorruptIndexError, IndexNotFoundError, ReadOnlyIndexError, StorageError
from colbert_rag.storage.access import IMMUTABLE
from colbert_rag.storage.connection import CATALOG, check_format, sqlite_errors
from colbert_rag.storage.forking import using
from colbert_rag.storage.guards import SchemaRow, check_files, fresh_schema, schema_rows
from colbert_rag.storage.reading import MOST_RECORD, STATE_COLUMNS
from colbert_rag.storage.records import CodecRecord, IndexSettings, SegmentRecord
from colbert_rag.storage.rows import content_checksum, document_of, keys_checksum, row_checksum
from colbert_rag.storage.system_errors import read_errors
from colbert_rag.storage.write_ahead_log import LogCheck, check_log
from colbert_rag.types import Document

__all__ = ["Salvage", "salvaging"]

M = TypeVar("M", bound=BaseModel)
_Row = tuple[Any, ...]

# the index over the ids knows them too, in pages of its own
_IDS = "documents INDEXED BY sqlite_autoindex_documents_1"
_REFS = "documents INDEXED BY documents_by_ref WHERE ref_id IS NOT NULL"
# SQLite reads a file that lost pages at its end only where the schema is writable; nothing is written all the same
_PRAGMAS = ("trusted_schema = OFF", "cell_size_check = ON", "query_only = ON", "writable_schema = ON")


@contextmanager
def salvaging(folder: Path) -> Iterator[Salvage]:
    """Open the catalog of a damaged index without changing it.

    Raises:
        IndexNotFoundError: there is no catalog in the folder.
        CorruptIndexError: its first page, which says where everything lies, cannot be read.
        UnsupportedFormatError: it is of another format version.
        StorageError: this user may not read it, or the disk does not give it.
        IndexLockedError: another process is recovering it.
        IndexClosedError: this is a forked child, and another thread of its parent was using it.
    """
    path = folder / CATALOG
    log = path.with_name(path.name + "-wal")
    with read_errors(path):
        if not path.is_file():
            msg = f"{folder}: there is no {CATALOG} here, and with it went texts and ids. Restore a backup."
            raise IndexNotFoundError(msg)
        check_files(path)
        # reading only, SQLite leaves the catalog and its log as they are; without a log it makes no file at all
        mode = "mode=ro" if log.exists() and log.stat().st_size else IMMUTABLE
    with using(path):
        with _typed_errors(path):
            opened = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None)
        with closing(opened) as connection:
            with _typed_errors(path):
                for pragma in _PRAGMAS:
                    connection.execute(f"PRAGMA {pragma}")
                connection.execute("BEGIN")
                found = schema_rows(connection)
            check_format(connection, folder)
            # what is no UTF-8 is no reason to stop: its checksum tells
            connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
            yield Salvage(connection, found & fresh_schema(), tuple(_lost_with(check_log(log))))


@contextmanager
def _typed_errors(path: Path) -> Iterator[None]:
    try:
        with sqlite_errors(path.parent):
            yield
    except (StorageError, ReadOnlyIndexError) as err:
        if isinstance(err, StorageError) and "unable to open" not in str(err.__cause__):
            raise
        with read_errors(path):
            mode = stat.filemode(path.stat().st_mode)
        msg = (
            f"{path}: cannot be opened ({err.__cause__}); its permissions are {mode}. Restore as a user who may read "
            f"it and its folder, or, where a writer left a log in a read-only folder, from a copy that may be written "
            f"to."
        )
        raise StorageError(msg) from err
    except CorruptIndexError as err:
        msg = f"{path}: its first page cannot be read ({err.__cause__}), so no row can be found. Restore a backup."
        raise CorruptIndexError(msg) from err


def _lost_with(log: LogCheck) -> Iterator[str]:
    """What is lost with a damaged log: what its commits wrote stands nowhere else."""
    if log.problem is not None:
        yield f"{log.problem}; how many documents they wrote or deleted cannot be counted"
    if log.tail is not None:
        yield f"{log.tail}: of a write that did not finish, or of a commit that is lost with its documents"


class Salvage:
    """The rows of a damaged catalog that are what was committed.

    Attributes:
        problems: One line for each thing that could not be read; grows as things are read.
        uncounted: One line for each thing with which an unknown number of documents is lost, or may be.
    """

    def __init__(self, connection: sqlite3.Connection, sound: Set[SchemaRow], uncounted: tuple[str, ...]) -> None:
        self._connection = connection
        self.uncounted = uncounted
        self.problems: list[str] = []
        # what stands in the place of a table of ours might be a view that never ends
        self._tables = {name for kind, name, *_ in sound if kind == "table"}
        self._rows: dict[int, _Row] = {}

    def settings(self) -> IndexSettings | None:
        """The settings, or None."""
        return self._state("settings", IndexSettings)

    def codec(self) -> CodecRecord | None:
        """The codec's record; None where there is none or it cannot be read."""
        return self._state("codec", CodecRecord)

    def _state(self, column: str, kind: type[M]) -> M | None:
        if self._state_row is None:
            return None
        record = self._state_row[column]
        return None if record is None else self._parsed(f"the record of the {column}", record, kind)

    @cached_property
    def _state_row(self) -> dict[str, Any] | None:
        rows, _ = self._scan("state", f"SELECT only, {STATE_COLUMNS}, checksum FROM state")
        *row, checksum = rows.get(1, (None,))
        if not row or row_checksum(*row) != checksum:
            self._note("the state of the index is not what was committed: its settings, its codec")
            return None
        return dict(zip(STATE_COLUMNS.split(", "), row, strict=True))

    def segments(self) -> list[SegmentRecord]:
        """The segments whose records can be read."""
        rows = self._both_ways("segments", "SELECT name, record FROM segments ORDER BY name ASC")
        found: dict[str, SegmentRecord] = {}
        for name, (row,) in rows.items():
            record = self._parsed(f"the record of {name}", row, SegmentRecord)
            if record is not None and found.setdefault(record.name, record) is not record:
                self._note(f"{record.name}: two records of one segment; the first is taken")
        return list(found.values())

    def tombstones(self) -> set[int]:
        """Keys of deleted documents, as far as they can be read."""
        found = set(self._both_ways("tombstones", "SELECT key FROM tombstones ORDER BY key ASC"))
        if self._state_row is not None and keys_checksum(sorted(found)) != self._state_row["tombstones"]:
            self._note("tombstones: not what was committed; documents that were deleted may be counted as lost")
        return found

    def find_documents(self, candidates: Iterable[int]) -> dict[int, str | None]:
        """Every key that may be of a document, with its id where that can be read; :meth:`document` reads the rest.

        Args:
            candidates: Keys that the segments hold.
        """
        texts = self._both_ways("content", "SELECT key FROM content ORDER BY key ASC")
        self._rows = self._both_ways("documents", "SELECT key, id, ref_id FROM documents ORDER BY key ASC")
        keys = {*texts, *candidates}
        for key in keys - self._rows.keys():
            self._rows |= self._scan("documents", "SELECT key, id, ref_id FROM documents WHERE key = ?", key)[0]
        found = _texts(self._rows)
        if keys - found.keys():
            found = _texts(self._indexed) | found
        return dict.fromkeys(keys | self._rows.keys()) | found

    @cached_property
    def _indexed(self) -> dict[int, _Row]:
        """Ids and sources by key as the indexes over them know them, in pages of their own."""
        ids = self._both_ways("documents", f"SELECT id, key FROM {_IDS} ORDER BY id ASC")
        refs = self._both_ways("documents", f"SELECT key, ref_id FROM {_REFS} ORDER BY ref_id ASC, key ASC")
        return {key: (document_id, *refs.get(key, (None,))) for document_id, (key,) in ids.items()}

    def document(self, key: int) -> Document | None:
        """A document whose checksum holds, or None."""
        sql = "SELECT key, heading, text, metadata, extra, checksum FROM content WHERE key = ?"
        rows, _ = self._scan("content", sql, key)
        for *content, checksum in rows.values():
            for known in (self._rows, self._indexed):
                if key in known and _is_sound(key, known[key], content, checksum):
                    return self._document(*known[key], *content)
        return None

    def _document(self, *columns: Any) -> Document | None:
        try:
            return document_of(*columns)
        except CorruptIndexError as err:
            self._note(str(err))
            return None

    def _parsed(self, what: str, record: object, kind: type[M]) -> M | None:
        if isinstance(record, str) and len(record) > MOST_RECORD:
            self._note(f"{what} takes more than {MOST_RECORD:,} characters of JSON")
            return None
        try:
            return None if record is None else kind.model_validate_json(str(record))
        except ValidationError:
            self._note(f"{what} is not what was committed")
            return None

    def _both_ways(self, table: str, sql: str) -> dict[Any, _Row]:
        """Rows by their first column: from the first on and, where a page stops that, from the last back."""
        rows, is_whole = self._scan(table, sql)
        return rows if is_whole else rows | self._scan(table, sql.replace(" ASC", " DESC"))[0]

    def _scan(self, table: str, sql: str, *values: int) -> tuple[dict[Any, _Row], bool]:
        """Rows by their first column, and whether nothing stopped the reading."""
        found: dict[Any, _Row] = {}
        if table not in self._tables:
            self._note(f"the table {table} is not there")
            return found, True
        try:
            for first, *rest in self._connection.execute(sql, values):
                if first in found:
                    self._note(f"{table}: its pages lead in a circle")
                    return found, False
                found[first] = tuple(rest)
        except sqlite3.Error as err:
            self._note(f"{table}: {err}")
            return found, False
        return found, True

    def _note(self, line: str) -> None:
        if (problem := f"{CATALOG}: {line}") not in self.problems:
            self.problems.append(problem)


def _texts(rows: Mapping[int, _Row]) -> dict[int, str]:
    """Ids by key, of the rows whose id is text."""
    return {key: row[0] for key, row in rows.items() if _is_text(row[0])}


def _is_sound(key: int, row: _Row, content: Sequence[Any], checksum: object) -> bool:
    parts = (*row, *content)
    is_text = all(part is None or _is_text(part) for part in parts)
    return is_text and content_checksum(key, *parts) == checksum


def _is_text(value: object) -> bool:
    """Whether it is text of ours; what is no UTF-8 was read as lone surrogates, which no text of ours holds."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
