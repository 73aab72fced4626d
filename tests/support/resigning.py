"""What an attacker does who knows the format: tampered records with checksums that fit again."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from colbert_rag.errors import CorruptIndexError
from colbert_rag.storage import Writing
from colbert_rag.storage.rows import content_checksum, keys_checksum

__all__ = ["resign", "tamper"]


def tamper(folder: Path, sql: str, *values: Any, is_resigned: bool = True) -> None:
    """Run one statement on the catalog of an index; its checksums then fit, where there is something to sign."""
    with closing(sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(sql, values)
    if is_resigned:
        with suppress(sqlite3.OperationalError, CorruptIndexError):
            resign(folder)


def resign(folder: Path) -> None:
    """Make every checksum in the catalog fit what stands there; those of array files are left."""
    with closing(sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)) as connection:
        rows = connection.execute(
            "SELECT d.key, d.id, d.ref_id, c.heading, c.text, c.metadata, c.extra "
            "FROM documents d JOIN content c ON c.key = d.key"
        ).fetchall()
        for key, *columns in rows:
            checksum = content_checksum(key, *columns)
            connection.execute("UPDATE content SET checksum = ? WHERE key = ?", (checksum, key))
        keys = [key for (key,) in connection.execute("SELECT key FROM tombstones ORDER BY key")]
        connection.execute("UPDATE state SET tombstones = ?, commits = commits - 1", (keys_checksum(keys),))
        Writing(connection).seal()
