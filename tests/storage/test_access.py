from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from itertools import count

import pytest
from children import join, running

from colbert_rag.errors import CorruptIndexError, StorageError
from colbert_rag.storage import Catalog, Reading, create_catalog
from colbert_rag.storage.access import IMMUTABLE, access_mode
from colbert_rag.storage.catalog import OvertakenError
from colbert_rag.types import Document

NOBODY = 65_534
N_DOCUMENTS = 30
N_COMMITS = 40


@contextmanager
def writer(folder):
    """Another user who has the catalog open for writing."""
    with closing(sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)) as connection:
        yield connection


def commit(folder, number):
    """A commit of another user, folded into the catalog as the last one out does."""
    with writer(folder) as connection:
        connection.execute("UPDATE state SET commits = ?", (number,))


class TestReaderWithoutALock:
    """Root may write everywhere, so the permission is taken away from what asks for it."""

    @pytest.fixture(autouse=True)
    def closed(self, store, catalog, monkeypatch):
        store({"a": "text"})
        catalog.close()
        monkeypatch.setattr(os, "access", lambda path, mode: False)

    @pytest.fixture
    def reader(self, folder):
        with closing(Catalog(folder)) as reader:
            yield reader

    def test_what_a_folding_writer_changed_meanwhile_is_read_again(self, folder, reader):
        found = []

        def work(reading):
            found.append(reading.commits())
            if len(found) == 1:
                commit(folder, 7)
            return found[-1]

        assert reader.read(work) == 7
        assert found == [1, 7]

    def test_an_error_that_a_folding_writer_may_have_caused_is_no_answer(self, folder, reader):
        calls = []

        def work(reading):
            calls.append(reading)
            if len(calls) == 1:
                commit(folder, 7)
                raise CorruptIndexError("torn")
            return reading.commits()

        assert reader.read(work) == 7

    def test_an_error_without_a_writer_is_raised_at_once(self, reader):
        calls = []

        def work(reading):
            calls.append(reading)
            raise CorruptIndexError("damaged")

        with pytest.raises(CorruptIndexError, match="damaged"):
            reader.read(work)
        assert len(calls) == 1

    def test_a_writer_who_never_pauses_is_named(self, folder, reader, monkeypatch):
        monkeypatch.setattr("colbert_rag.storage.catalog._OVERTAKEN_S", 0.2)
        numbers, begun = count(2), time.monotonic()
        with pytest.raises(StorageError, match=r"a writer changed the index .* time and again\. Repeat") as caught:
            reader.read(lambda reading: commit(folder, next(numbers)))
        assert str(folder) in str(caught.value)
        assert next(numbers) > 20
        assert time.monotonic() - begun > 0.2

    def test_a_transaction_that_is_overtaken_says_so_from_then_on(self, folder, reader):
        said = []
        with pytest.raises(OvertakenError), reader.reading() as reading:
            said += [reading.is_whole(), commit(folder, 7), reading.is_whole()]
        assert said == [True, None, False]

    def test_the_log_of_a_writer_who_came_meanwhile_is_read_along_from_then_on(self, folder, reader):
        calls = []
        with writer(folder) as connection:

            def work(reading):
                calls.append(access_mode(folder))
                connection.execute("UPDATE state SET commits = 7")
                return reading.commits()

            assert reader.read(work) == 7
            assert calls == [IMMUTABLE, "mode=ro"]
            connection.execute("UPDATE state SET commits = 8")
            assert reader.read(Reading.commits) == 8

    def test_a_log_that_its_writer_is_about_to_remove_is_waited_for(self, folder):
        log = folder / "catalog.sqlite-wal"
        log.write_bytes(b"folded in")
        ending = threading.Timer(0.01, log.unlink)
        ending.start()
        assert access_mode(folder) == IMMUTABLE
        ending.join()


def test_readers_with_locks_never_ask_whether_they_were_overtaken(store, catalog, folder):
    store({"a": "text"})
    with catalog.reading() as reading:
        store({"b": "text"})
        assert reading.is_whole()
        assert catalog.count(reading) == 0


def write_versions(folder):
    """Commit after commit replaces every document, and each is folded in by its writer, who goes."""
    for version in range(1, N_COMMITS + 1):
        # a reader who finds nobody takes no lock
        time.sleep(0.01)
        with closing(Catalog(folder)) as catalog, catalog.writing() as writing:
            keys = writing.take_keys(N_DOCUMENTS)
            for table in ("documents", "content", "attributes"):
                writing.connection.execute(f"DELETE FROM {table}")
            writing.connection.execute("INSERT INTO fulltext (fulltext) VALUES ('delete-all')")
            documents = (Document(f"d{n}", f"v{version:07}" + "x" * 20_000, {"v": version}) for n in range(N_DOCUMENTS))
            writing.add_documents((key, d, 1) for key, d in zip(keys, documents, strict=True))


def read_versions(folder):
    """Every answer is of one commit, and none older than the one before."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    last = 0

    def read(reading):
        commits = reading.commits()
        # a writer may come and go
        time.sleep(0.02)
        documents = [document for _, document in reading.all_documents()]
        return commits, sorted((document.id, document.text[:8], document.metadata["v"]) for document in documents)

    while last < N_COMMITS:
        with closing(Catalog(folder)) as catalog:
            version, found = catalog.read(read)
        assert found == sorted((f"d{n}", f"v{version:07}", version) for n in range(N_DOCUMENTS if version else 0))
        assert version >= last
        last = version


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can change users")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_user_without_write_access_reads_commits_and_nothing_between_while_another_folds(fast_folder, settings):
    fast_folder.chmod(0o755)
    create_catalog(fast_folder / "index", settings)
    # what is imported late may lie where only root can read
    shutil.copytree(fast_folder / "index", fast_folder / "warm")
    with closing(Catalog(fast_folder / "warm")) as catalog:
        catalog.read(Reading.commits)
    with running(lambda: read_versions(fast_folder / "index")) as reader:
        write_versions(fast_folder / "index")
        assert join(*reader) == [0]
