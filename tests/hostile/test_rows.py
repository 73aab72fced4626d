"""Hostile rows: the types, numbers and texts in them are whatever an attacker likes, with checksums that fit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from hostile_case import Case
from hostile_index import HostileIndex


def write(table: str, column: str, value: Any) -> Callable[[HostileIndex], None]:
    return lambda index: index.write(table, column, value)


def loosely(table: str, statement: str) -> Callable[[HostileIndex], None]:
    return lambda index: index.loosely(table, statement)


def sql(*statements: str) -> Callable[[HostileIndex], None]:
    def make(index: HostileIndex) -> None:
        for statement in statements:
            index.sql(statement)

    return make


STATE = [
    *(
        Case(f"state.{column}: {value!r}", "open", write("state", column, value))
        for column in ("settings", "commits")
        for value in (None, b"\x01", 0.5, "a")
    ),
    Case("settings: a number", "open", write("state", "settings", 5)),
    Case("codec: a number", "open", write("state", "codec", 5)),
    Case("codec: bytes", "open", write("state", "codec", b"{}")),
    Case("commits: negative", "", write("state", "commits", -5)),
    Case("commits: the last there is", "add", write("state", "commits", 2**63 - 1)),
    *(
        Case(f"next_key: {value!r}", "add", write("state", "next_key", value))
        for value in (None, b"\x01", 0.5, "a", -1, 0, 1, 2**63 - 1, 2**62 - 1)
    ),
    Case("next_key: below documents that are there", "verify", write("state", "next_key", 7)),
    Case("no state", "open", sql("DELETE FROM state")),
    Case("two states", "open", sql("INSERT INTO state SELECT 2, settings, codec, commits, 1, 0, 0, 0 FROM state")),
    *(
        Case(f"segments.record: {value!r}", "open", write("segments", "record", value))
        for value in (None, b"\x01", 5, 0.5)
    ),
]

DOCUMENTS = [
    *(
        Case(f"documents.id: {name}", "search", sql(f"UPDATE documents SET id = {value}"))
        for name, value in (
            ("no UTF-8", "CAST(x'ff' || key AS TEXT)"),
            ("half a character", "CAST(x'eda080' || key AS TEXT)"),
        )
    ),
    *(
        Case(f"documents.id: {name}", "search", loosely("documents", f"UPDATE documents SET id = {value}"))
        for name, value in (
            ("bytes and text", "CASE WHEN key % 2 THEN CAST(id AS BLOB) ELSE id END"),
            ("numbers and text", "CASE WHEN key % 2 THEN key ELSE id END"),
        )
    ),
    *(
        Case(f"documents.ref_id: {value!r}", "search", write("documents", "ref_id", value))
        for value in (5, b"\x01", 0, b"", 0.0)
    ),
    Case("documents.n_tokens: text", "info", write("documents", "n_tokens", "many")),
    Case("documents.n_tokens: nothing", "verify", write("documents", "n_tokens", None)),
    Case("documents.n_tokens: bytes", "verify", write("documents", "n_tokens", b"\x01")),
    Case("documents.n_tokens: huge", "info", write("documents", "n_tokens", 2**62)),
    Case("documents.n_tokens: negative", "verify", write("documents", "n_tokens", -3)),
    Case("documents.text_bytes: text", "info", write("documents", "text_bytes", "1e9")),
    Case("documents.text_bytes: negative", "verify", write("documents", "text_bytes", -3)),
    Case("keys of documents that have no vectors", "search", sql("UPDATE documents SET key = key + 500")),
    Case("keys below 0", "search", sql("UPDATE documents SET key = -key")),
    Case("vectors without documents", "search", sql("DELETE FROM documents WHERE key = 9")),
    Case("a document without content", "search", sql("DELETE FROM content WHERE key = 9")),
    Case("content without a document", "verify", sql("INSERT INTO content VALUES (900, '', 'x', '{}', NULL, 0)")),
    Case(
        "a document without vectors",
        "hybrid",
        sql(
            "INSERT INTO documents VALUES (900, 'x', NULL, 1, 1)",
            "INSERT INTO content VALUES (900, '', 'x', '{}', NULL, 0)",
            "INSERT INTO fulltext (rowid, heading, text) VALUES (900, '', 'alpha')",
        ),
    ),
    Case("a tombstone of a document that is there", "hybrid", sql("INSERT INTO tombstones VALUES (9)")),
    Case("a tombstone of nothing", "verify", sql("INSERT INTO tombstones VALUES (900)")),
    Case("no tombstone of a deleted document", "search", sql("DELETE FROM tombstones")),
]

DEEP = "[" * 40 + "]" * 40
CONTENT = [
    *(
        Case(f"content.{column}: {value!r}", "search", write("content", column, value))
        for column in ("heading", "text", "metadata")
        for value in (5, b"\x01", None, 0.0)
    ),
    *(Case(f"content.extra: {value!r}", "search", write("content", "extra", value)) for value in (5, b"\x01", 0, b"")),
    *(
        Case(f"content.{column}: {name}", "search", write("content", column, value))
        for column in ("metadata", "extra")
        for name, value in (
            *(
                ("nothing", ""),
                ("no JSON", "{'a': 1}"),
                ("NaN", '{"a": NaN}'),
                ("infinite", '{"a": -Infinity}'),
                ("beyond all floats", '{"a": 1e999}'),
            ),
            *(
                ("a depth bomb", "[" * 100_000),
                ("41 levels", '{"a": ' + DEEP + "}"),
                ("a huge integer", '{"a": ' + "9" * 9_999 + "}"),
            ),
            *(("half a character", '{"a": "\\ud800"}'), ("half a character as a name", '{"\\udfff": 1}')),
            *(("900 levels", '{"a":' * 900 + "1" + "}" * 900), ("a NUL", "\0")),
        )
    ),
    *(
        Case(f"content.metadata: the text {value}", "search", write("content", "metadata", value))
        for value in ("[1]", "null", "5", '"a"')
    ),
    Case("content.text: no UTF-8", "search", sql("UPDATE content SET text = CAST(x'c3' AS TEXT)")),
    Case("content.text: half a character", "search", sql("UPDATE content SET text = CAST(x'eda080' AS TEXT)")),
    Case("content.checksum: another", "search", lambda i: unsealed(i, "UPDATE content SET checksum = 1")),
    Case("state.checksum: another", "open", lambda i: unsealed(i, "UPDATE state SET commits = commits + 1")),
    Case("attributes: of nobody", "verify", sql("INSERT INTO attributes VALUES ('n', 5, 900)")),
    Case("attributes: bytes", "verify", sql("UPDATE attributes SET value = CAST(value AS BLOB) WHERE name = 'tags'")),
    Case("attributes: of other documents", "verify", sql("UPDATE attributes SET key = 40 - key WHERE name = 'n'")),
]


def unsealed(index: HostileIndex, statement: str) -> None:
    with closing(sqlite3.connect(index.catalog)) as connection, connection:
        connection.execute(statement)


@pytest.mark.parametrize("case", STATE, ids=str)
def test_a_state_that_we_never_write_is_refused(refused, case):
    refused(case)


@pytest.mark.parametrize("case", DOCUMENTS, ids=str)
def test_documents_that_do_not_fit_their_vectors_are_refused(refused, case):
    refused(case)


@pytest.mark.parametrize("case", CONTENT, ids=str)
def test_content_that_is_not_what_a_user_may_store_is_refused(refused, case):
    refused(case)


HARMLESS = [
    Case("a NUL in a text", "", sql("UPDATE content SET text = 'alpha' || char(0) || substr(text, 7)")),
    Case("names twice in metadata", "", write("content", "metadata", '{"n": 1, "n": 2}')),
    Case("ids of 100,000 characters", "", sql("UPDATE documents SET id = id || hex(zeroblob(50000))")),
]


@pytest.mark.parametrize("case", HARMLESS, ids=str)
def test_texts_that_are_only_odd_do_no_harm(attack, case):
    said = attack(case)
    assert said["search"] == said["explain"] == "fine", said
