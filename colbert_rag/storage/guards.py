"""What a catalog must be before it is opened, and before anything is asked of it: it may come from a stranger."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TypeAlias

from colbert_rag.errors import CorruptIndexError, ReadOnlyIndexError
from colbert_rag.storage.forking import is_in_use
from colbert_rag.storage.holes import check_filled
from colbert_rag.storage.schema import SCHEMA

__all__ = [
    "SchemaRow",
    "check_files",
    "check_only_name",
    "check_pages",
    "check_schema",
    "fresh_schema",
    "has_only_name",
    "schema_rows",
    "work_bounded",
]

SchemaRow: TypeAlias = tuple[object, ...]
"""Type, name, table and SQL of an object in a database."""

# what SQLite may find beside a catalog
_SIDE_FILES = ("", "-wal", "-shm", "-journal")
# what ANALYZE adds in SQLite's shell: it changes plans, never answers
_STATISTICS: frozenset[SchemaRow] = frozenset(
    ("table", name, name, f"CREATE TABLE {name}({columns})")
    for name, columns in (("sqlite_stat1", "tbl,idx,stat"), ("sqlite_stat4", "tbl,idx,neq,nlt,ndlt,sample"))
)
# a row has two bytes at least, and a check of it some hundred steps
_MOST_STEPS_A_BYTE = 100
_STEPS = 100_000
_FAILED_READ = re.compile(r"unable to get the page\. error code=(\d+)")
_SQLITE_IOERR = 10


def _status(path: Path) -> os.stat_result | None:
    """Of a file or link itself; None where there is none."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def check_files(path: Path) -> None:
    """Refuse a catalog, or a file that SQLite would read along with it, that leads out of the folder or never ends.

    Args:
        path: Of the catalog, which exists.

    Raises:
        CorruptIndexError: a link, a FIFO or a device, a filled rollback journal, or a file that is mostly holes.
    """
    for side in _SIDE_FILES:
        file = path.with_name(path.name + side)
        # whoever closes the index last removes them, at any moment
        if (status := _status(file)) is not None and not stat.S_ISREG(status.st_mode):
            msg = (
                f"{file}: not a regular file of the index but a link or a device. Copy the folder with its real files."
            )
            raise CorruptIndexError(msg)
    journal = path.with_name(path.name + "-journal")
    # replaying one can remove any file that it names, and ours are never made, since a catalog keeps a write-ahead log
    # from the start
    if (status := _status(journal)) is not None and status.st_size > 0:
        msg = (
            f"{journal}: colbert_rag writes no such file, and SQLite would replay it. Restore the index from a backup."
        )
        raise CorruptIndexError(msg)
    status = path.stat()
    # what is in use was looked at before
    if not is_in_use(status):
        check_filled(path.parent, {path: status})


def check_only_name(path: Path) -> None:
    """Refuse to write to a catalog that another folder holds too.

    Raises:
        ReadOnlyIndexError: it has another name elsewhere.
    """
    if not has_only_name(path):
        msg = (
            f"{path}: the file has another name elsewhere (a hard link), which a write here would change too, without "
            f"its log. Copy it: cp {path} copy && mv copy {path}"
        )
        raise ReadOnlyIndexError(msg)


def has_only_name(path: Path) -> bool:
    """Whether no other folder holds the catalog, as a snapshot of hard links does."""
    links = path.stat().st_nlink
    return links == 1 or links <= 1 + _unfinished(path)


def _unfinished(path: Path) -> int:
    """Names that a creation which was killed has left beside the catalog."""
    return sum(path.samefile(other) for other in path.parent.glob(path.name + ".new-*"))


def check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse tables, views and triggers that are not the ones we made: a query of theirs could say or cost anything.

    Raises:
        CorruptIndexError: naming what differs.
    """
    (encoding,) = connection.execute("PRAGMA encoding").fetchone()
    expected, found = fresh_schema(), schema_rows(connection)
    different = sorted({str(row[1]) for row in expected ^ found})
    if encoding != "UTF-8":
        different.append(f"text in {encoding}")
    if different:
        msg = f"{path}: not the tables of an index: {', '.join(different[:5])}. Restore the index from a backup."
        raise CorruptIndexError(msg)


def check_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse damaged pages before they are copied: a copy of a circle of them would fill the disk.

    Raises:
        CorruptIndexError: SQLite finds something wrong.
        sqlite3.OperationalError: the disk does not give a page, which SQLite puts among what is wrong.
    """
    with work_bounded(connection):
        (line,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    failed = _FAILED_READ.search(line)
    if failed is not None and int(failed[1]) % 256 == _SQLITE_IOERR:
        raise sqlite3.OperationalError("disk I/O error")
    if line != "ok":
        doubt = "The file is damaged, or the disk cannot read it"
        raise CorruptIndexError(f"{path}: {line}. {doubt}. Run: colbert-rag verify {path.parent}")


def schema_rows(connection: sqlite3.Connection) -> frozenset[SchemaRow]:
    """Every object of a database but SQLite's own statistics."""
    return frozenset(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")) - _STATISTICS


@cache
def fresh_schema() -> frozenset[SchemaRow]:
    """The objects of a new catalog."""
    fresh = sqlite3.connect(":memory:")
    try:
        fresh.executescript(SCHEMA)
        return schema_rows(fresh)
    finally:
        fresh.close()


@contextmanager
def work_bounded(connection: sqlite3.Connection, scans: int = 1) -> Iterator[None]:
    """Interrupt what takes far more steps than any number of rows can: pages that lead in a circle have no end.

    Args:
        connection: What works.
        scans: How often the work may go through the whole catalog.

    Raises:
        CorruptIndexError: it did.
    """
    (pages,), (size,) = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    raised: list[BaseException] = []
    ticks = _ticks(scans * _MOST_STEPS_A_BYTE * pages * size // _STEPS, raised)
    next(ticks)
    connection.set_progress_handler(partial(next, ticks, True), _STEPS)
    try:
        yield
    except sqlite3.OperationalError as err:
        if str(err) != "interrupted":
            raise
        if raised:
            raise raised.pop() from None
        msg = "the pages of the catalog lead in a circle. Restore the index from a backup."
        raise CorruptIndexError(msg) from err
    finally:
        connection.set_progress_handler(None, 0)


def _ticks(count: int, raised: list[BaseException]) -> Iterator[bool]:
    """Say that often that work may go on, until a signal handler raises: sqlite3 drops what its callbacks raise.

    A generator that has begun is inside its ``try`` when Python calls the handler of a signal that came meanwhile.
    """
    try:
        for _ in range(count + 1):
            yield False
    except BaseException as err:
        raised.append(err)
