"""The record that says of which parts the full-text index consists: SQLite asks for memory by the numbers in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from colbert_rag.errors import CorruptIndexError

__all__ = ["check_full_text_record"]

_RECORD = "SELECT CAST(block AS BLOB) FROM fulltext_data WHERE id = 10"
_COOKIE_BYTES = 4
# begins a record that also counts deletions (fts5_index.c, FTS5_STRUCTURE_V2): SQLite writes it only where a table says
# contentless_delete, which ours does not, and reads it wherever it stands
_OF_DELETIONS = bytes.fromhex("ff000001")
# of each level: how many of its parts are being merged, and how many there are
_LEVEL_NUMBERS = 2
# of each part: its number, its first page and its last
_PART_NUMBERS = 3
_LONGEST_NUMBER = 9


def check_full_text_record(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse levels and parts that the record itself has no room for, and a record of another kind than ours.

    SQLite reserves memory for as many as are announced, and then says that there is no memory, which is an error of
    the machine and not of the index (fts5_index.c, fts5StructureDecode).

    Args:
        connection: Of a catalog whose tables are ours.
        path: Of the catalog, for words.

    Raises:
        CorruptIndexError: the record is no list of levels.
    """
    row = connection.execute(_RECORD).fetchone()
    # a table without the record is refused by SQLite with the right words
    if row is not None and not _is_ours(row[0]):
        msg = f"{path}: the list of the full-text index's parts is malformed. Restore the index from a backup."
        raise CorruptIndexError(msg)


def _is_ours(record: bytes | None) -> bool:
    """Whether it is a record as SQLite writes it for our table, with room for what it announces."""
    if record is None or record[_COOKIE_BYTES:].startswith(_OF_DELETIONS):
        return False
    return _has_room(record)


def _has_room(record: bytes) -> bool:
    """Whether each number of levels and parts can be true of a record of this size."""
    at = _COOKIE_BYTES
    try:
        levels, at = _number(record, at)
        parts, at = _number(record, at)
        _, at = _number(record, at)
        if levels * _LEVEL_NUMBERS > len(record) - at:
            return False
        for _ in range(levels):
            _, at = _number(record, at)
            here, at = _number(record, at)
            parts -= here
            if here * _PART_NUMBERS > len(record) - at:
                return False
            for _ in range(here * _PART_NUMBERS):
                _, at = _number(record, at)
    except IndexError:
        return False
    return parts == 0


def _number(record: bytes, at: int) -> tuple[int, int]:
    """A number as SQLite packs it (sqlite.org/fileformat.html, varint), and where the next one begins."""
    value = 0
    for length in range(1, _LONGEST_NUMBER):
        byte = record[at + length - 1]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + length
    return value << 8 | record[at + _LONGEST_NUMBER - 1], at + _LONGEST_NUMBER
