from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
from contextlib import closing

import pytest

from colbert_rag.errors import (
    CorruptIndexError,
    IndexClosedError,
    IndexLockedError,
    IndexNotFoundError,
    ReadOnlyIndexError,
    StorageError,
)
from colbert_rag.storage import Catalog, CodecRecord, SegmentRecord, Writing, create_catalog

SEGMENT = SegmentRecord(
    name="segment-1", codec=None, n_documents=1, n_tokens=2, n_escapes=0, posting_bytes=None, files={}
)
CODEC = CodecRecord(name="codec-1", n_centroids=2, trained_on=9, files={})


def ids(catalog):
    with catalog.reading() as reading:
        return list(reading.ids())


def state(catalog):
    with catalog.reading() as reading:
        return catalog.state(reading)


def test_a_disk_that_fails_is_named_though_sqlite_ends_the_transaction_itself(catalog):
    def fails(reading):
        reading.connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(StorageError, match="disk I/O error"):
        catalog.read(fails)


def test_a_new_index_is_empty_and_remembers_its_settings(catalog, settings):
    found = state(catalog)
    assert (found.settings, found.codec, found.segments, found.commits) == (settings, None, (), 0)
    assert ids(catalog) == []


@pytest.mark.parametrize("pool_factor", [1, 3])
def test_a_setting_that_came_later_is_stored_only_where_it_is_used(tmp_path, settings, pool_factor):
    """So that versions without it can read an index that does without it, and refuse one that does not."""
    chosen = settings.model_copy(update={"pool_factor": pool_factor, "word_pairs": pool_factor != 1})
    create_catalog(tmp_path, chosen)
    catalog = Catalog(tmp_path)
    assert state(catalog).settings == chosen
    with catalog.reading() as reading:
        stored = json.loads(reading.state_rows()[0][0])
    catalog.close()
    assert stored.get("pool_factor") == (None if pool_factor == 1 else pool_factor)
    assert stored.get("word_pairs") == (None if pool_factor == 1 else True)
    assert {name for name in stored if name not in ("pool_factor", "word_pairs")} == {
        *("dim", "bits", "exact_tokens", "probe_tokens", "seed", "model")
    }


def test_what_fails_after_a_commit_does_not_fail_the_write(catalog, store, monkeypatch):
    monkeypatch.setattr("colbert_rag.storage.catalog._MOST_LOG_BYTES", -1)
    with catalog.reading() as reading:
        assert reading.count() == 0
        # the reader keeps the log from being folded
        store({"a": "text"})
    assert ids(catalog) == ["a"]


def test_a_write_is_committed_at_the_end_of_its_block(catalog, store):
    store({"a": "text"})
    assert ids(catalog) == ["a"]
    assert state(catalog).commits == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_write_is_rolled_back_on_any_exception(catalog, store, error):
    store({"a": "text"})

    def interrupted():
        with catalog.writing() as writing:
            writing.remove_documents(writing.find(["a"]))
            writing.add_segment(SEGMENT)
            writing.set_codec(CODEC)
            assert list(writing.ids()) == []
            raise error

    with pytest.raises(error):
        interrupted()
    found = state(catalog)
    assert (ids(catalog), found.segments, found.codec, found.commits) == (["a"], (), None, 1)
    store({"b": "the lock is free again"})


def test_a_reader_sees_one_commit_while_a_writer_commits(catalog, store):
    store({"a": "text"})
    with catalog.reading() as reading:
        before = reading.commits()
        store({"b": "text"})
        assert (list(reading.ids()), reading.count(), reading.commits()) == (["a"], 1, before)
        assert reading.bm25("text", 5) == reading.bm25("text", 1)
        assert ids(catalog) == ["a", "b"]
    assert ids(catalog) == ["a", "b"]


def test_an_open_write_is_not_seen_and_blocks_no_reader(catalog, store):
    with catalog.writing() as writing:
        writing.add_segment(SEGMENT)
        assert state(catalog).segments == ()
    assert state(catalog).segments == (SEGMENT,)


def test_a_second_writer_is_refused_after_the_timeout(catalog, folder):
    other = Catalog(folder, lock_timeout_s=0.01)
    with (
        catalog.writing(),
        pytest.raises(IndexLockedError, match=r"another writer holds the index.*lock_timeout_s"),
        other.writing(),
    ):
        pass
    with other.writing():
        pass
    other.close()
    assert state(catalog).commits == 2


def test_a_waiting_writer_gets_its_turn(folder, catalog):
    patient = Catalog(folder, lock_timeout_s=10)
    begun = threading.Event()

    def write():
        begun.set()
        with patient.writing() as writing:
            writing.add_segment(SEGMENT)

    thread = threading.Thread(target=write)
    with catalog.writing():
        thread.start()
        begun.wait(5)
    thread.join(10)
    patient.close()
    assert state(catalog).segments == (SEGMENT,)


def test_a_writer_that_begins_again_waits_for_whoever_came_between(folder, catalog, monkeypatch):
    patient = Catalog(folder, lock_timeout_s=10)
    other = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None, check_same_thread=False)
    # longer than one try for the lock
    timer = threading.Timer(0.5, lambda: other.execute("COMMIT"))
    commit_nothing = Writing.commit_nothing

    def overtaken(writing):
        commit_nothing(writing)
        other.execute("BEGIN IMMEDIATE")
        timer.start()

    monkeypatch.setattr(Writing, "commit_nothing", overtaken)
    with patient.writing() as writing:
        patient.supersede(writing)
        writing.add_segment(SEGMENT)
    timer.join(10)
    patient.close()
    other.close()
    assert state(catalog).segments == (SEGMENT,)


def test_a_read_only_catalog_refuses_to_write(folder):
    catalog = Catalog(folder, read_only=True)
    with pytest.raises(ReadOnlyIndexError, match="Open it without read_only"), catalog.writing():
        pass
    catalog.close()


def test_a_closed_catalog_says_how_to_open_it_again(catalog):
    with catalog.reading() as reading:
        catalog.close()
        assert reading.count() == 0
    for use in (catalog.reading, catalog.writing):
        with pytest.raises(IndexClosedError, match=r"the index is closed.*Index.open"), use():
            pass
    catalog.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_told_to_open_the_index_again(catalog, store):
    store({"a": "text"})
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child():
        for use in (catalog.reading, catalog.writing):
            try:
                with use():
                    answers.put("usable")
            except IndexClosedError as err:
                answers.put(str(err))

    process = context.Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    for _ in range(2):
        assert "opened before the process forked" in answers.get()
    assert ids(catalog) == ["a"]


def test_connections_are_used_again_and_all_closed(catalog, monkeypatch):
    made = []
    from colbert_rag.storage import catalog as module

    def connect(*args, **options):
        made.append(original(*args, **options))
        return made[-1]

    original = module.connect
    monkeypatch.setattr(module, "connect", connect)
    for _ in range(5):
        with catalog.reading(), catalog.reading():
            pass
    assert len(made) == 1
    catalog.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")


@pytest.mark.parametrize("column", ["settings", "codec"])
@pytest.mark.parametrize("value", ["", "{", "null", "[]", '"text"', "{}", "[" * 5_000, '{"dim": 1e999}'])
def test_a_state_record_that_we_never_write_is_corrupt(catalog, tamper, column, value):
    tamper(f"UPDATE state SET {column} = ?", value)
    with pytest.raises(CorruptIndexError, match="a record is not what colbert_rag writes"):
        state(catalog)


@pytest.mark.parametrize(
    "change",
    [
        {"dim": "4"},
        {"dim": 4.0},
        {"dim": None},
        {"bits": 5},
        {"exact_tokens": -1},
        {"seed": 2**60},
        {"model": []},
        {"trust_remote_code": True},
    ],
)
def test_settings_of_a_wrong_type_or_with_extra_keys_are_corrupt(catalog, tamper, settings, change):
    tamper("UPDATE state SET settings = ?", json.dumps(settings.model_dump() | change))
    with pytest.raises(CorruptIndexError, match=next(iter(change))):
        state(catalog)


def test_a_segment_record_that_we_never_write_is_corrupt(catalog, tamper):
    record = json.loads(SEGMENT.model_dump_json())
    tamper("INSERT INTO segments VALUES ('segment-1', ?)", json.dumps(record | {"name": "../../etc"}))
    with pytest.raises(CorruptIndexError, match="name"):
        state(catalog)


def test_two_segments_of_one_name_are_corrupt(catalog, tamper):
    for name in ("segment-1", "segment-2"):
        tamper("INSERT INTO segments VALUES (?, ?)", name, SEGMENT.model_dump_json())
    with pytest.raises(CorruptIndexError, match="two segments have one name"):
        state(catalog)


def test_a_segment_of_another_codec_is_corrupt(catalog, tamper):
    tamper("INSERT INTO segments VALUES ('segment-1', ?)", SEGMENT.model_dump_json())
    tamper("UPDATE state SET codec = ?", CODEC.model_dump_json())
    with pytest.raises(CorruptIndexError, match="packed with another codec than 'codec-1'"):
        state(catalog)


@pytest.mark.parametrize("sql", ["DELETE FROM state", "DROP TABLE segments", "DROP TABLE state"])
def test_a_catalog_without_its_tables_or_rows_is_corrupt(catalog, tamper, sql):
    tamper(sql)
    with pytest.raises(CorruptIndexError):
        state(catalog)


def test_vacuum_gives_space_back(catalog, folder, store):
    store({f"d{n}": f"word{n} " * 200 for n in range(500)})
    with catalog.writing() as writing:
        writing.remove_documents(writing.find([f"d{n}" for n in range(500)]))
        writing.optimise()
    catalog.vacuum()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000
    assert state(catalog).commits == 2


def test_a_large_log_is_folded_into_the_catalog(catalog, folder, store, monkeypatch):
    monkeypatch.setattr("colbert_rag.storage.catalog._MOST_LOG_BYTES", 100_000)
    store({f"d{n}": f"word{n} " * 500 for n in range(200)})
    assert (folder / "catalog.sqlite-wal").stat().st_size == 0


def test_documents_are_counted_by_what_the_segments_hold_without_the_deleted(catalog, tamper):
    assert catalog.read(catalog.count) == 0
    with catalog.writing() as writing:
        for name, n_documents in (("segment-1", 5), ("segment-2", 3)):
            writing.add_segment(SEGMENT.model_copy(update={"name": name, "n_documents": n_documents}))
        writing.bury([1, 7])
    assert catalog.read(catalog.count) == 6
    catalog.close()
    tamper("DELETE FROM segments WHERE name = 'segment-1'")
    tamper("INSERT INTO tombstones VALUES (8), (9)")
    with (
        closing(Catalog(catalog.folder)) as other,
        pytest.raises(CorruptIndexError, match="4 of 3 documents are d"),
    ):
        other.read(other.count)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_ends_the_wait_for_another_writer(folder, catalog):
    with closing(sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = Catalog(folder, lock_timeout_s=60)
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt), waiting.writing():
            pass
        assert time.monotonic() - begin < 30
        waiting.close()


def test_a_writer_waits_no_longer_than_it_was_told(folder, catalog):
    with closing(sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = Catalog(folder, lock_timeout_s=0.4)
        begin = time.monotonic()
        with pytest.raises(IndexLockedError, match="larger lock_timeout_s"), waiting.writing():
            pass
        assert time.monotonic() - begin >= 0.4
        waiting.close()


def test_another_catalog_in_its_place_is_refused_and_never_mixed_with_the_one_that_was_opened(folder, catalog):
    with catalog.reading():
        shutil.copytree(folder, folder.with_name("other"))
        folder.rename(folder.with_name("moved"))
        folder.with_name("other").rename(folder)
        # the connection of before is in use, so this needs another
        with pytest.raises(IndexClosedError, match=r"another index lies here now.*Open it again"), catalog.reading():
            pass
        with pytest.raises(IndexClosedError, match="another index lies here now"), catalog.writing():
            pass


def test_a_connection_at_rest_does_not_go_on_with_a_catalog_that_is_gone_or_replaced(folder, catalog):
    with catalog.reading():
        pass
    shutil.copytree(folder, folder.with_name("other"))
    shutil.rmtree(folder)
    with pytest.raises(IndexNotFoundError, match="no index here"), catalog.reading():
        pass
    folder.with_name("other").rename(folder)
    with pytest.raises(IndexClosedError, match="another index lies here now"), catalog.reading():
        pass


def test_a_write_that_failed_holds_no_lock_though_somebody_keeps_a_cursor_of_it(folder, catalog):
    numbers = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 9) SELECT n FROM c"
    kept = []

    def fail(writing):
        kept.append(writing.connection.execute(numbers))
        assert next(kept[0]) == (1,)
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"), catalog.writing() as writing:
        fail(writing)
    with closing(Catalog(folder, lock_timeout_s=0)) as other, other.writing():
        pass
