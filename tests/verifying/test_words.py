from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from colbert_rag import CorruptIndexError, Document
from colbert_rag.storage import Catalog, IndexSettings, create_catalog
from colbert_rag.verifying.words import word_problems

COUNT = 6_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A catalog with a word in so many documents that FTS5 keeps a table of contents of its list of them."""
    folder = tmp_path_factory.mktemp("words")
    settings = IndexSettings(dim=4, bits=4, exact_tokens=0, probe_tokens=0, seed=0, model={}, word_pairs=True)
    create_catalog(folder, settings)
    catalog = Catalog(folder)
    with catalog.writing() as writing:
        keys = writing.take_keys(COUNT)
        writing.add_documents((key, Document(f"d{key}", f"common rare{key}"), 2) for key in keys)
    catalog.close()
    return folder


def found(folder):
    catalog = Catalog(folder)
    try:
        with catalog.reading() as reading:
            reading.connection.execute("PRAGMA query_only = OFF")
            return list(word_problems(reading, lambda *_: None))
    finally:
        catalog.close()


def test_many_documents_are_compared_in_pieces(folder):
    calls = []
    catalog = Catalog(folder)
    with catalog.reading() as reading:
        reading.connection.execute("PRAGMA query_only = OFF")
        assert list(word_problems(reading, lambda *call: calls.append(call))) == []
    catalog.close()
    assert calls[0] == ("verify texts", 256, COUNT)
    assert calls[-1] == ("verify texts", COUNT, COUNT)


def test_a_table_of_contents_that_leads_astray_is_found(folder):
    """Every word is where it was; only a jump into the middle of a list would miss it."""
    with closing(sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)) as connection:
        sql = "SELECT id, block FROM fulltext_data WHERE (id >> 36) & 1"
        [(number, block), *_] = connection.execute(sql).fetchall()
        damaged = block[:-1] + bytes([block[-1] ^ 1])
        connection.execute("UPDATE fulltext_data SET block = ? WHERE id = ?", (damaged, number))
    with pytest.raises(CorruptIndexError, match="malformed"):
        found(folder)
