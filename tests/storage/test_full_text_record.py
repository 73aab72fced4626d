from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from colbert_rag import CorruptIndexError
from colbert_rag.storage.full_text_record import check_full_text_record
from colbert_rag.storage.schema import SCHEMA

CATALOG = Path("catalog.sqlite")
# cookie, levels, parts, counter
BEGINNING = bytes(4) + b"\x01\x01\x01"
# after the cookie: a record that counts deletions, which a table of ours never has; to SQLite one level, no part,
# a counter, none being merged, and in it two thousand million; as numbers alone 16,256 levels without a part
OF_DELETIONS = bytes(4) + bytes.fromhex("ff000001 010001 00 87ffffff7f 00")
ANNOUNCED = {
    "more parts than memory": BEGINNING + b"\x00\x87\xff\xff\xff\x7f" + b"\x01\x01\x01",
    "more parts than bytes": BEGINNING + b"\x00\x02" + b"\x01\x01\x01",
    "more levels than bytes": bytes(4) + b"\x82\x00\x01\x01" + b"\x00\x01\x01\x01\x01",
    "fewer parts than all": bytes(4) + b"\x01\x02\x01" + b"\x00\x01\x01\x01\x01",
    "a number without end": bytes(4) + b"\xff" * 9,
    "nothing": b"",
    "no numbers": bytes(4),
    "no record": None,
    "a count of deletions": OF_DELETIONS,
    "a count of deletions with room for what its numbers would be": OF_DELETIONS.ljust(33_000, b"\0"),
}


@pytest.fixture
def catalog():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        yield connection


def words_of(number):
    return f"head{number % 5}", f"word{number} alpha{number % 7} beta"


def add(catalog, numbers):
    for number in numbers:
        row = (number, *words_of(number))
        catalog.execute("INSERT INTO fulltext (rowid, heading, text) VALUES (?, ?, ?)", row)


def put(catalog, record):
    catalog.execute("UPDATE fulltext_data SET block = ? WHERE id = 10", (record,))


def test_every_record_that_sqlite_writes_is_accepted(catalog):
    check_full_text_record(catalog, CATALOG)
    for first in range(0, 600, 20):
        catalog.execute("BEGIN")
        add(catalog, range(first, first + 20))
        catalog.execute("COMMIT")
        check_full_text_record(catalog, CATALOG)
    for number in range(0, 600, 3):
        words = (number, *words_of(number))
        catalog.execute("INSERT INTO fulltext (fulltext, rowid, heading, text) VALUES ('delete', ?, ?, ?)", words)
        check_full_text_record(catalog, CATALOG)
    catalog.execute("INSERT INTO fulltext (fulltext) VALUES ('optimize')")
    check_full_text_record(catalog, CATALOG)


@pytest.mark.parametrize("record", ANNOUNCED.values(), ids=list(ANNOUNCED))
def test_more_than_the_record_has_room_for_is_refused_before_sqlite_asks_for_memory(catalog, record):
    put(catalog, record)
    with pytest.raises(CorruptIndexError, match="full-text index's parts is malformed"):
        check_full_text_record(catalog, CATALOG)


def test_no_record_that_is_accepted_is_taken_for_a_lack_of_memory(tmp_path):
    rng = random.Random(8)
    path, outcomes = tmp_path / "catalog.sqlite", []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        add(connection, range(40))
    for _ in range(400):
        # small numbers are what most of a record is made of
        raw = bytes(rng.choice((0, 1, 1, 2, rng.randrange(256))) for _ in range(rng.randrange(4, 20)))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            put(connection, raw)
            try:
                check_full_text_record(connection, CATALOG)
            except CorruptIndexError:
                outcomes.append("refused")
                continue
        # another connection, which does not know the record from before
        with closing(sqlite3.connect(path)) as connection:
            try:
                connection.execute("SELECT rowid FROM fulltext WHERE fulltext MATCH 'alpha3'").fetchall()
                outcomes.append("answered")
            except sqlite3.DatabaseError:
                outcomes.append("an error of SQLite's")
    assert {"refused", "answered"} <= set(outcomes)
