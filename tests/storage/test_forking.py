from __future__ import annotations

import gc
from contextlib import suppress

import pytest

from colbert_rag.errors import CorruptIndexError, IndexClosedError
from colbert_rag.storage import Catalog, forking
from colbert_rag.storage.connection import connect


@pytest.fixture
def n_in_use(folder):
    """How many connections to the catalog the process says it has."""
    status = (folder / "catalog.sqlite").stat()
    identity = status.st_dev, status.st_ino
    return lambda: sum(use.identity == identity for use in forking._uses())


def test_a_connection_is_in_use_from_opening_to_closing_however_it_ends(folder, catalog, n_in_use):
    catalog.close()
    assert n_in_use() == 0
    connection = connect(folder, write=False, timeout_s=0)
    assert n_in_use() == 1
    connection.close()
    connection.close()
    assert n_in_use() == 0
    connection = connect(folder, write=True, timeout_s=0)
    del connection
    gc.collect()
    assert n_in_use() == 0
    (folder / "catalog.sqlite").write_bytes(b"no database" * 1_000)
    with suppress(CorruptIndexError):
        connect(folder, write=True, timeout_s=0)
    assert n_in_use() == 0


def test_what_is_idle_is_closed_before_a_fork_and_opened_again_by_the_next_call(catalog, n_in_use):
    assert n_in_use() == 1
    forking._before()
    assert n_in_use() == 0
    with catalog.reading() as reading:
        assert n_in_use() == 1
        forking._before()
        assert n_in_use() == 1
        assert reading.count() == 0


def test_a_catalog_that_is_gone_is_not_asked_to_rest(folder, catalog):
    known = set(forking._keepers)
    other = Catalog(folder)
    assert len(set(forking._keepers) - known) == 1
    other.close()
    del other
    gc.collect()
    assert set(forking._keepers) <= known


def test_what_was_in_use_stays_closed_to_the_child(folder, catalog, monkeypatch):
    monkeypatch.setattr(forking, "_in_use", dict(forking._in_use))
    monkeypatch.setattr(forking, "_inherited", set())
    with catalog.reading():
        forking._after_in_child()
    assert forking._in_use == {}
    with pytest.raises(IndexClosedError, match="Fork while no call runs, or start processes by spawn"):
        connect(folder, write=False, timeout_s=0)


def test_a_connection_ends_with_its_catalog_whoever_keeps_a_cursor_of_it(folder, catalog, n_in_use):
    catalog.close()
    other = Catalog(folder)
    with other.reading() as reading:
        kept = reading.connection.execute("SELECT 1 UNION ALL SELECT 2")
        assert next(kept) == (1,)
    assert n_in_use() == 1
    del reading, other
    gc.collect()
    assert n_in_use() == 0
