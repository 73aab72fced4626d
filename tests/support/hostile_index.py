"""An index in the hands of an attacker who knows the format: whatever he changes, every checksum fits again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from colbert_rag import Document, Index
from colbert_rag.storage.rows import content_checksum, keys_checksum, row_checksum
from colbert_rag.testing import HashEncoder

__all__ = ["DIM", "HostileIndex", "build", "encoder", "seal"]

DIM = 16
_HEADER_BYTES = 128
_STATE = "settings, codec, commits, next_key, tombstones, segments"


def encoder() -> HashEncoder:
    """What the indexes are built with."""
    return HashEncoder(DIM)


def build(folder: Path, *, is_packed: bool) -> Path:
    """A good small index with a heading, metadata, a tombstone and two segments; packed: with a codec and lists."""
    with Index.create(folder, encoder(), exact_tokens=150 if is_packed else 50_000, probe_tokens=1, bits=2) as index:
        for start in (0, 20):
            index.add([_document(n) for n in range(start, start + 20)])
        index.delete(["d05"])
    return folder


def _document(n: int) -> Document:
    words = " ".join(f"word{n * k % 37}" for k in range(1, 10))
    # three blanks in a row and a long word: spans of both kinds
    text = f"alpha beta   {'gamma' * 9} {words}. Number {n} ends here."
    return Document(f"d{n:02}", text, {"n": n, "tags": ["a", "b"]}, heading="Title", ref_id=f"r{n % 3}", extra={"x": n})


class HostileIndex:
    """Changes to an index folder.

    Args:
        folder: A closed index that :func:`build` made.
        outside: A folder beside it that nobody may touch.
    """

    def __init__(self, folder: Path, outside: Path) -> None:
        self.folder = folder
        self.outside = outside
        self.catalog = folder / "catalog.sqlite"

    @property
    def segment(self) -> Path:
        """The folder of the first segment."""
        return self.folder / self._column("SELECT name FROM segments ORDER BY name")[0]

    @property
    def codec(self) -> Path:
        """The folder of the codec."""
        return self.folder / json.loads(self._column("SELECT codec FROM state")[0])["name"]

    def _column(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.catalog)) as connection:
            return [row[0] for row in connection.execute(sql)]

    def array(self, name: str, dtype: str) -> np.ndarray:
        """The data of an array file of the first segment, or of the codec."""
        folder = self.codec if name in ("centroids", "rotation") else self.segment
        return np.frombuffer((folder / f"{name}.npy").read_bytes()[_HEADER_BYTES:], dtype).copy()

    def put(self, name: str, data: np.ndarray | bytes) -> None:
        """Other data of the same size in an array file."""
        folder = self.codec if name in ("centroids", "rotation") else self.segment
        path = folder / f"{name}.npy"
        old, new = path.read_bytes(), bytes(data if isinstance(data, bytes) else data.tobytes())
        assert len(new) == len(old) - _HEADER_BYTES, f"{name}: {len(new)} bytes"
        path.write_bytes(old[:_HEADER_BYTES] + new)
        self.fit_files()

    def change(self, name: str, dtype: str, place: int, value: float) -> None:
        """One number of an array file."""
        data = self.array(name, dtype)
        data[place] = value
        self.put(name, data)

    def edit_segment(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change the record of the first segment."""
        self._edit("segments", "record", "WHERE name = (SELECT min(name) FROM segments)", edit)

    def hollow(self, name: str, size: int) -> None:
        """An array file of the first segment that grows to a size by a hole, which its record knows of."""
        os.truncate(self.segment / f"{name}.npy", size)
        self.edit_segment(lambda record: record["files"][name].update(size=size))

    def edit_settings(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change the settings."""
        self._edit("state", "settings", "", edit)

    def edit_codec(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change the record of the codec."""
        self._edit("state", "codec", "", edit)

    def _edit(self, table: str, column: str, where: str, edit: Callable[[dict[str, Any]], None]) -> None:
        record = json.loads(self._column(f"SELECT {column} FROM {table} {where}")[0])
        edit(record)
        self.sql(f"UPDATE {table} SET {column} = ? {where}", json.dumps(record))

    def fit_files(self) -> None:
        """Sizes and digests of all files in their records."""
        for column, table in (("record", "segments"), ("codec", "state")):
            for text in self._column(f"SELECT {column} FROM {table}"):
                record = json.loads(text or '{"files": {}}')
                for file in record["files"].values():
                    path = self.folder / record["name"] / file["name"]
                    if path.is_file():
                        content = path.read_bytes()
                        file.update(size=len(content), sha256=hashlib.sha256(content).hexdigest())
                self.sql(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", json.dumps(record), text)

    def sql(self, *statements: Any) -> None:
        """Run one statement with its values, with no rule of the tables in force; checksums fit afterwards."""
        with self._connection() as connection:
            connection.execute(statements[0], statements[1:])

    def script(self, sql: str) -> None:
        """Run several statements."""
        with self._connection() as connection:
            connection.executescript(sql)

    def write(self, table: str, column: str, value: Any) -> None:
        """Any value in a column of every row, whatever type the table wants."""
        self.loosely(table, f"UPDATE {table} SET {column} = ?", value)

    def loosely(self, table: str, *statements: Any) -> None:
        """Run one statement with its values on a table that takes any type meanwhile."""
        declared = self._column(f"SELECT sql FROM sqlite_master WHERE name = '{table}'")[0]
        loose = re.sub(r"\b(?:TEXT|ANY|INTEGER(?! PRIMARY KEY))\b|NOT NULL", "", declared)
        self._declare(table, loose.replace(" STRICT, ", " ").replace(" STRICT", ""))
        self.sql(*statements)
        self._declare(table, declared)
        self.seal()

    def _declare(self, table: str, sql: str) -> None:
        with self._connection() as connection:
            connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (sql, table))

    def seal(self) -> None:
        """Make every checksum in the catalog fit what stands there."""
        with self._connection():
            pass

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.catalog, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute("PRAGMA writable_schema = ON")
            yield connection
            seal(connection)


def seal(connection: sqlite3.Connection) -> None:
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    execute = connection.execute
    # a table may not be there any more, or be something else
    with suppress(sqlite3.Error):
        for key, *columns in execute(
            "SELECT d.key, d.id, d.ref_id, c.heading, c.text, c.metadata, c.extra FROM documents d JOIN content c "
            "ON c.key = d.key"
        ).fetchall():
            execute("UPDATE content SET checksum = ? WHERE key = ?", (content_checksum(key, *columns), key))
    with suppress(sqlite3.Error):
        keys = [key for (key,) in execute("SELECT key FROM tombstones ORDER BY key")]
        execute("UPDATE state SET tombstones = ?", (keys_checksum(keys),))
    with suppress(sqlite3.Error):
        segments = row_checksum(*chain.from_iterable(execute("SELECT name, record FROM segments ORDER BY name")))
        execute("UPDATE state SET segments = ?", (segments,))
    with suppress(sqlite3.Error):
        for row in execute(f"SELECT only, {_STATE} FROM state").fetchall():
            execute("UPDATE state SET checksum = ? WHERE only = ?", (row_checksum(*row[1:]), row[0]))
