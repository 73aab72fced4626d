"""Writers in several processes: one at a time, none lost, and a dead one in nobody's way (T12)."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest
from children import join, running

from colbert_rag import Document, Index
from colbert_rag.errors import IndexLockedError
from colbert_rag.ingest import write_session
from colbert_rag.testing import HashEncoder

ENCODER = HashEncoder(dim=8)
PROCESSES = 8

pytestmark = pytest.mark.usefixtures("needs_fork")


def encode(documents):
    return ENCODER.encode_documents([document.text for document in documents])


def commits(index):
    with index._catalog.reading() as reading:
        return reading.commits()


def test_no_commit_of_eight_racing_writers_is_lost(fast_folder, figures):
    Index.create(fast_folder / "index", ENCODER).close()
    rounds = figures.size(40, 5_000)

    def write(name):
        with Index.open(fast_folder / "index", ENCODER, lock_timeout_s=60) as index:
            for n in range(rounds):
                index.add([Document(f"{name} {n}", f"text {n} of {name}")])

    with running(*(partial(write, name) for name in range(PROCESSES)), most_seconds=60 + rounds) as processes:
        assert join(*processes) == [0] * PROCESSES
    with Index.open(fast_folder / "index", ENCODER) as index:
        assert set(index.ids()) == {f"{name} {n}" for name in range(PROCESSES) for n in range(rounds)}
        assert commits(index) == PROCESSES * rounds
        assert index.verify().problems == ()
    figures.add("commits of racing writers", PROCESSES * rounds)


def test_of_eight_that_create_one_index_all_write_to_the_same(fast_folder, figures):
    for n in range(figures.size(5, 100)):
        path = fast_folder / f"index{n}"

        def write(name, path=path):
            with Index.open_or_create(path, ENCODER, lock_timeout_s=60) as index:
                index.add([Document(str(name), "text")])

        with running(*(partial(write, name) for name in range(PROCESSES))) as processes:
            assert join(*processes) == [0] * PROCESSES
        with Index.open(path, ENCODER) as index:
            assert list(index.ids()) == [str(name) for name in range(PROCESSES)]
        assert not list(path.glob("catalog.sqlite.new*"))


@pytest.fixture
def held(fast_folder):
    """An index whose write lock another process holds, and that process; it has begun a segment."""
    with Index.create(fast_folder / "index", ENCODER) as index:
        index.add([Document("a", "text")])
    is_held, said = os.pipe()

    def hold():
        with (
            Index.open(fast_folder / "index", ENCODER) as index,
            write_session(index.path, index._catalog, lambda *_: None) as session,
        ):
            wanted = session.wanted([Document("b", "text")], replace=False)
            session.write(wanted, encode(wanted), replace=False)
            os.write(said, b"x")
            signal.pause()

    with running(hold) as [process]:
        os.close(said)
        assert os.read(is_held, 1)
        os.close(is_held)
        yield fast_folder / "index", process


def test_the_lock_of_a_killed_holder_is_free_and_what_it_began_is_swept(held):
    path, process = held
    os.kill(process, signal.SIGKILL)
    with Index.open(path, ENCODER, lock_timeout_s=5) as index:
        index.add([Document("c", "text")])
        assert list(index.ids()) == ["a", "c"]
        assert (index.verify().problems, index.verify().leftovers) == ((), ())
    assert join(process) == [-signal.SIGKILL]


def test_a_writer_waits_for_its_timeout_and_says_what_to_do(held):
    path, _ = held
    with Index.open(path, ENCODER, lock_timeout_s=0.2) as index:
        for write in (lambda: index.add([Document("c", "text")]), lambda: index.delete(["a"]), index.compact):
            with pytest.raises(IndexLockedError, match=r"another writer holds the index.*lock_timeout_s"):
                write()
        assert [hit.id for hit in index.search("text")] == ["a"]


def test_opening_and_reading_never_wait_for_a_writer_nor_fail_for_one(fast_folder, figures):
    """With no patience at all for other writers, while processes open, write and fold the log as they close."""
    Index.create(fast_folder / "index", ENCODER).close()
    is_over, over = os.pipe()
    os.set_blocking(is_over, False)

    def write(name):
        n = 0
        while not is_told(is_over):
            n += 1
            with Index.open(fast_folder / "index", ENCODER, lock_timeout_s=60) as index:
                index.upsert([Document(name, f"text {n}")])

    def is_told(pipe):
        try:
            return os.read(pipe, 1)
        except BlockingIOError:
            return False

    with running(lambda: write("a"), lambda: write("b")) as writers:
        for _ in range(figures.size(400, 20_000)):
            with Index.open(fast_folder / "index", ENCODER, lock_timeout_s=0) as index:
                assert {document.id for document in index.get_many(["a", "b"])} <= {"a", "b"}
        os.write(over, b"xx")
        assert join(*writers) == [0, 0]
    os.close(is_over)
    os.close(over)
