"""Hostile databases: what a catalog may hold besides our tables, and pages that are not what they should be."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import accumulate

import pytest
from hostile_case import Case
from hostile_index import HostileIndex

from colbert_rag.storage.schema import SCHEMA

PAGE = 16_384


def script(sql: str) -> Callable[[HostileIndex], None]:
    return lambda index: index.script(sql)


def declared(table: str, old: str, new: str) -> Callable[[HostileIndex], None]:
    """The table is said to be another than it is."""
    change = f"UPDATE sqlite_master SET sql = replace(sql, '{old}', '{new}') WHERE name = '{table}'"
    return script(f"PRAGMA writable_schema = ON; {change};")


def instead(table: str, sql: str) -> Callable[[HostileIndex], None]:
    """A view in the place of a table."""

    def make(index: HostileIndex) -> None:
        with closing(sqlite3.connect(index.catalog)) as connection:
            connection.executescript(f"DROP TABLE {table}; CREATE VIEW {table} AS {sql};")

    return make


def patched(place: int, value: bytes) -> Callable[[HostileIndex], None]:
    """Bytes of the catalog's file."""

    def make(index: HostileIndex) -> None:
        with index.catalog.open("rb+") as file:
            file.seek(place)
            file.write(value)

    return make


def other_encoding(index: HostileIndex) -> None:
    """A sound catalog in every respect but that it keeps text in UTF-16."""
    with closing(sqlite3.connect(index.catalog)) as old:
        lines = [line for line in old.iterdump() if "fulltext" not in line and "sqlite_" not in line]
    index.catalog.unlink()
    with closing(sqlite3.connect(index.catalog, isolation_level=None)) as new:
        new.execute("PRAGMA encoding = 'UTF-16le'")
        new.executescript("\n".join(lines))
        new.executescript(SCHEMA[SCHEMA.index("CREATE VIRTUAL TABLE") :])
        new.executescript(f"PRAGMA application_id = {0x436F6C42}; PRAGMA user_version = 1;")
    index.seal()


def truncated(index: HostileIndex) -> None:
    index.catalog.write_bytes(index.catalog.read_bytes()[: 3 * PAGE])


def noise(index: HostileIndex) -> None:
    index.catalog.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 200)


def root_page(index: HostileIndex, table: str) -> int:
    with closing(sqlite3.connect(index.catalog)) as connection:
        return connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]


def one_root_for_two(one: str, other: str) -> Callable[[HostileIndex], None]:
    def make(index: HostileIndex) -> None:
        sql = "UPDATE sqlite_master SET rootpage = ? WHERE name = ?"
        page = root_page(index, one)
        with closing(sqlite3.connect(index.catalog, isolation_level=None)) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute(sql, (page, other))
        index.seal()

    return make


# what stands behind the child's number: a key as a varint in a table, a record in an index
TABLE_CELLS = [bytes([0x80 | n >> 7, n & 0x7F]) for n in range(1, 901)]
# ("n", 40, 1) of the table of attributes, which is an index to SQLite
ATTRIBUTE_CELLS = [bytes([7, 4, 15, 1, 1]) + b"n\x28\1"] * 250


def circle(
    table: str, levels: int = 6, cells: Sequence[bytes] = TABLE_CELLS, kinds: tuple[int, int | None] = (5, None)
) -> Callable[[HostileIndex], None]:
    """Pages that name each other: 900 times 900 times ... the same rows, some 10^17 of them in a few pages."""

    def make(index: HostileIndex) -> None:
        root = root_page(index, table)
        pages = bytearray(index.catalog.read_bytes())
        leaf = page_of(kinds[1], cells) if kinds[1] else pages[(root - 1) * PAGE : root * PAGE]
        first = len(pages) // PAGE + 1
        children = [first + level for level in range(levels)]
        for level, child in enumerate(children):
            page = root if level == 0 else children[level - 1]
            node = interior(child, cells, kinds[0])
            if page == root:
                pages[(root - 1) * PAGE : root * PAGE] = node
            else:
                pages += node
        pages += leaf
        pages[28:32] = (len(pages) // PAGE).to_bytes(4, "big")
        index.catalog.write_bytes(pages)

    return make


def interior(child: int, cells: Sequence[bytes], kind: int) -> bytes:
    """An interior page of a b-tree whose every cell names one child."""
    number = child.to_bytes(4, "big")
    return page_of(kind, [number + cell for cell in cells], number)


def page_of(kind: int, cells: Sequence[bytes], last: bytes = b"") -> bytes:
    """A page of a b-tree (sqlite.org/fileformat2.html, section 1.6)."""
    start = PAGE - sum(map(len, cells))
    header = bytes([kind, 0, 0]) + len(cells).to_bytes(2, "big") + start.to_bytes(2, "big") + b"\0" + last
    places = accumulate(map(len, cells[:-1]), initial=start)
    return (header + b"".join(place.to_bytes(2, "big") for place in places)).ljust(start, b"\0") + b"".join(cells)


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS key FROM n"
STATE = ("only", "settings", "codec", "commits", "next_key", "tombstones", "segments", "checksum")
ENDLESS_STATE = (
    ENDLESS.replace("SELECT x AS key", f"SELECT {', '.join(f'x AS {name}' for name in STATE)}") + " WHERE x < 0"
)
BOMB = " ".join(f"CREATE VIEW v{n} AS SELECT a.* FROM v{n - 1} a, v{n - 1} b, v{n - 1} c;" for n in range(1, 30))
TABLES = [
    Case(name, "open", make)
    for name, make in {
        "a trigger": script("CREATE TRIGGER t AFTER INSERT ON documents BEGIN DELETE FROM content; END;"),
        "a trigger on what is deleted": script(
            "CREATE TRIGGER t AFTER DELETE ON documents BEGIN UPDATE state SET next_key = 1; END;"
        ),
        "a view instead of tombstones, without end": instead("tombstones", ENDLESS),
        "a view instead of segments": instead("segments", "SELECT 'segment-1' AS name, '{}' AS record"),
        "a view instead of documents": instead("documents", "SELECT key, text AS id FROM content"),
        "views of views of views": script(f"CREATE VIEW v0 AS SELECT 1 AS x; {BOMB}"),
        "a further table": script("CREATE TABLE more (x);"),
        "a further index": script("CREATE INDEX more ON documents (n_tokens);"),
        "an index over an expression": script("CREATE INDEX more ON content (abs(checksum));"),
        "no table of attributes": script("DROP TABLE attributes;"),
        "no full-text index": script("DROP TABLE fulltext;"),
        "no index over the sources": script("DROP INDEX documents_by_ref;"),
        "tables of any type": declared("content", " STRICT", ""),
        "a column that is computed": declared("content", "text TEXT NOT NULL", "text TEXT AS (randomblob(9))"),
        "a default that is computed": declared("state", "codec TEXT", "codec TEXT DEFAULT (randomblob(9))"),
        "another tokenizer": declared("fulltext", "unicode61 remove_diacritics 2", "trigram"),
        "full text with its content elsewhere": declared("fulltext", "content = ''''", "content = ''content''"),
        "another virtual table": declared("fulltext", "fts5", "fts5vocab"),
        "a shadow table of another kind": declared("fulltext_data", "block BLOB", "block TEXT AS (id)"),
        "a schema that is no SQL": declared("documents", "CREATE TABLE", "CREATE CREATE"),
        "text in UTF-16": other_encoding,
    }.items()
]


ENDLESS_VIEWS = [
    Case("a view instead of the state, without end", "verify folder", instead("state", ENDLESS_STATE)),
]


@pytest.mark.parametrize("case", TABLES + ENDLESS_VIEWS, ids=str)
def test_tables_that_are_not_ours_are_refused(refused, case):
    refused(case)


PAGES = [
    Case("no database", "open", noise),
    Case("a catalog without a byte", "open", lambda index: index.catalog.write_bytes(b"")),
    Case("a catalog cut short", "open", truncated),
    Case("a database of somebody else", "open", script("PRAGMA application_id = 1;")),
    Case("a newer format", "open", script("PRAGMA user_version = 2;"), error="UnsupportedFormatError"),
    Case("a format of -1", "open", script("PRAGMA user_version = -1;"), error="UnsupportedFormatError"),
    Case("a number of pages beyond the file", "verify folder", patched(28, b"\x7f\xff\xff\xff")),
    Case("a page size of 1", "open", patched(16, b"\0\0")),
    Case("a file format of the future", "open", patched(18, b"\x09\x09")),
    Case("free pages in a circle", "verify folder", patched(32, b"\0\0\0\x02\0\0\0\x63")),
    Case("one page for documents and content", "verify folder", one_root_for_two("documents", "content")),
    Case("one page for the state and tombstones", "verify folder", one_root_for_two("state", "tombstones")),
    Case("the schema's page for segments", "open", one_root_for_two("sqlite_autoindex_documents_1", "segments")),
    Case("a table on a page that is not there", "verify folder", patched(28, b"\0\0\0\x04")),
    Case("tombstones in a circle", "search", circle("tombstones")),
    # what only counts them reads their index
    Case("documents in a circle", "function", circle("documents")),
    Case("attributes in a circle", "delete by filter", circle("attributes", 7, ATTRIBUTE_CELLS, (2, 10))),
    Case("content in a circle", "verify folder", circle("content")),
    Case("the words' data in a circle", "verify folder", circle("fulltext_data")),
    Case("the words' sizes in a circle", "verify folder", circle("fulltext_docsize")),
    Case("the state in a circle", "open", circle("state")),
]


@pytest.mark.parametrize("case", PAGES, ids=str)
def test_pages_that_are_not_ours_are_refused(refused, case):
    refused(case)


# a page of the words is no longer
NOISE = random.Random(5).randbytes(4096).hex()
# a cookie, one level, one part, a counter; of the level: none being merged, and two thousand million parts
MANY_PARTS = "00000000 01 01 01 00 87ffffff7f".replace(" ", "")
# the same in a record that counts deletions; who does not know that kind sees 16,256 levels without a part
MANY_PARTS_OF_DELETIONS = "00000000 ff000001 01 00 01 00 87ffffff7f 00".replace(" ", "").ljust(66_000, "0")

WORDS = [
    Case(f"words: {name}", "verify folder", script(f"PRAGMA writable_schema = ON; {sql}"))
    for name, sql in {
        "noise": f"UPDATE fulltext_data SET block = substr(x'{NOISE}', 1, length(block)) WHERE id > 10;",
        "nothing": "DELETE FROM fulltext_data WHERE id > 10;",
        "a structure of noise": f"UPDATE fulltext_data SET block = x'{NOISE[:80]}' WHERE id = 10;",
        "more parts than memory": f"UPDATE fulltext_data SET block = x'{MANY_PARTS}' WHERE id = 10;",
        "more parts than memory, with deletions": (
            f"UPDATE fulltext_data SET block = x'{MANY_PARTS_OF_DELETIONS}' WHERE id = 10;"
        ),
        "no structure": "UPDATE fulltext_data SET block = NULL WHERE id = 10;",
        "huge numbers of rows": "UPDATE fulltext_data SET block = x'ffffffffffffffffff' WHERE id = 1;",
        "no averages": "DELETE FROM fulltext_data WHERE id = 1;",
        "averages of nothing": "UPDATE fulltext_data SET block = x'000000' WHERE id = 1;",
        "sizes of noise": f"UPDATE fulltext_docsize SET sz = x'{NOISE[:18]}';",
        "no sizes": "DELETE FROM fulltext_docsize;",
        "another version": "UPDATE fulltext_config SET v = 99;",
        "a rank of the attacker's": "INSERT INTO fulltext_config VALUES ('rank', 'bm25(load_extension())');",
        "of documents that there are not": "UPDATE fulltext_docsize SET id = id + 900;",
        "no index of them": "DELETE FROM fulltext_idx;",
    }.items()
]


@pytest.mark.parametrize("case", WORDS, ids=str)
def test_a_full_text_index_that_is_not_ours_is_refused(refused, case):
    refused(case)
