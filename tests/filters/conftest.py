"""The two evaluators of conditions, as functions of a condition and documents."""

from __future__ import annotations

import sqlite3

import pytest

from colbert_rag.filters import attributes, matches, parse, to_sql

TABLES = """
CREATE TABLE documents (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, ref_id TEXT) STRICT;
CREATE TABLE attributes (
    name TEXT, value ANY, key INTEGER, PRIMARY KEY (name, value, key)
) STRICT, WITHOUT ROWID;
"""


def catalog_of(documents):
    connection = sqlite3.connect(":memory:")
    connection.create_function("casefold", 1, str.casefold, deterministic=True)
    connection.executescript(TABLES)
    for key, document in enumerate(documents):
        connection.execute("INSERT INTO documents VALUES (?, ?, ?)", (key, document.id, document.ref_id))
        pairs = attributes(document.metadata)
        connection.executemany("INSERT INTO attributes VALUES (?, ?, ?)", [(*pair, key) for pair in pairs])
    return connection


def ids_by_sql(given, documents):
    """Ids of the documents that the SQL of a filter chooses; fails where it is NULL for one."""
    expression, values = to_sql(parse(given))
    connection = catalog_of(documents)
    rows = connection.execute(f"SELECT d.id, {expression} FROM documents d ORDER BY d.key", values).fetchall()
    chosen = connection.execute(f"SELECT d.id FROM documents d WHERE {expression}", values).fetchall()
    connection.close()
    assert {truth for _, truth in rows} <= {0, 1}
    assert {id_ for id_, truth in rows if truth} == {id_ for (id_,) in chosen}
    return {id_ for (id_,) in chosen}


def ids_by_python(given, documents):
    condition = parse(given)
    return {document.id for document in documents if matches(condition, document)}


@pytest.fixture(scope="session", params=[ids_by_sql, ids_by_python], ids=["sql", "python"])
def chosen_ids(request):
    """``chosen_ids(filter, documents)``, once by each evaluator."""
    return request.param


@pytest.fixture(scope="session")
def both_ids():
    """``both_ids(filter, documents)``: what SQL chooses, and what Python chooses."""
    return lambda given, documents: (ids_by_sql(given, documents), ids_by_python(given, documents))


@pytest.fixture(scope="session")
def catalog():
    """``catalog(documents)``: a connection to the two tables that filters read."""
    return catalog_of
