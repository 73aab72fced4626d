"""Forks, spawned processes, pools and threads: each works or is refused with words, and harms nobody (T13)."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
from children import fork, join

from colbert_rag import Document, Index, restore_index
from colbert_rag.errors import IndexClosedError
from colbert_rag.storage.writing import Writing
from colbert_rag.testing import HashEncoder
from colbert_rag.verifying import verify_folder

ENCODER = HashEncoder(dim=8)
TEXT = "amber birch cedar"


def make(path, n=3):
    index = Index.create(path, ENCODER)
    index.add([Document(f"d{i}", f"{TEXT} {i}") for i in range(n)])
    return index


def found(index):
    return [hit.id for hit in index.search(TEXT, 1_000)]


def assert_whole(index, n):
    assert len(index) == n
    assert index.verify().problems == ()
    assert sorted(found(index)) == sorted(index.ids())


CALLS = {
    "search": found,
    "search for words": lambda index: index.search(TEXT, mode="bm25"),
    "search by vectors": lambda index: index.search_vectors(ENCODER.encode_queries([TEXT])),
    "explain": lambda index: index.explain(TEXT),
    "add": lambda index: index.add([Document("new", TEXT)]),
    "upsert": lambda index: index.upsert([Document("d0", TEXT)]),
    "delete": lambda index: index.delete(["d0"]),
    "compact": lambda index: index.compact(),
    "get": lambda index: index.get("d0"),
    "ids": lambda index: list(index.ids()),
    "find": lambda index: list(index.find()),
    "len": len,
    "info": lambda index: index.info(),
    "verify": lambda index: index.verify(),
}


@pytest.mark.usefixtures("needs_fork")
class TestFork:
    def test_every_call_is_refused_with_words_in_the_child_and_works_in_the_parent(self, tmp_path):
        index = make(tmp_path / "index")
        assert len(found(index)) == 3

        def child():
            for call in CALLS.values():
                with pytest.raises(IndexClosedError, match=r"before the process forked.*Open it again in the child"):
                    call(index)
            index.close()
            with Index.open(index.path, ENCODER) as again:
                again.add([Document("of the child", TEXT)])
                assert_whole(again, 4)

        assert join(fork(child)) == [0]
        assert_whole(index, 4)
        index.add([Document("of the parent", TEXT)])
        assert_whole(index, 5)
        index.close()

    def test_a_child_forked_while_other_threads_are_inside_is_refused_and_closes_without_waiting(self, tmp_path):
        """Locks that another thread held at the fork are never released in the child."""
        index = make(tmp_path / "index")
        locks = (index._encoder_guard, index._answers._guard, index._asking._guard, index._catalog._guard)
        is_inside, is_over = threading.Event(), threading.Event()

        def inside():
            for lock in locks:
                lock.acquire()
            is_inside.set()
            is_over.wait(60)
            for lock in locks:
                lock.release()

        thread = threading.Thread(target=inside)
        thread.start()
        is_inside.wait(60)

        def child():
            for name in CALLS.keys() - {"explain"}:
                with pytest.raises(IndexClosedError):
                    CALLS[name](index)
            index.close()

        process = fork(child)
        code = join(process)
        is_over.set()
        thread.join()
        assert code == [0]
        assert_whole(index, 3)
        index.close()

    @pytest.mark.parametrize("ending", ["dropped", "closed", "exited"])
    def test_a_child_that_lets_go_of_an_index_leaves_the_log_of_others_alone(self, tmp_path, ending):
        """SQLite in the child believes that it is the last user, and would delete the log with a crashed commit."""
        script = f"""
import gc, os, signal, sys
sys.path[:0] = {sys.path!r}
from colbert_rag import Document, Index
from colbert_rag.testing import HashEncoder
path, encoder = {str(tmp_path / "index")!r}, HashEncoder(dim=8)
index = Index.create(path, encoder)
index.add([Document("first", "text")])
may_end, tell = os.pipe()
if not (child := os.fork()):
    os.close(tell)
    os.read(may_end, 1)
    if {ending!r} == "closed":
        index.close()
    if {ending!r} == "dropped":
        del index
        gc.collect()
        os._exit(0)
    sys.exit()
index.close()
if not (crashing := os.fork()):
    Index.open(path, encoder).add([Document("second", "text")])
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(crashing, 0)
os.write(tell, b"x")
assert os.waitpid(child, 0)[1] == 0
print(sorted(Index.open(path, encoder).ids()))
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
        assert (done.stdout, done.stderr) == ("['first', 'second']\n", "")

    @pytest.mark.parametrize("child_does", ["leaves", "goes on", "drops it"])
    @pytest.mark.parametrize("where", ["stream", "encoder", "progress"])
    def test_a_child_forked_inside_a_write_harms_nothing(self, tmp_path, where, child_does):
        index, process = make(tmp_path / "index"), []

        class LeaveError(Exception):
            pass

        def maybe_fork(here):
            if here == where and not process:
                process.append(os.fork())
                if not process[0] and child_does != "goes on":
                    raise LeaveError

        def stream():
            for n in range(300):
                if n == 290:
                    maybe_fork("stream")
                yield Document(f"n{n}", f"{TEXT} {n}")

        class Encoder(HashEncoder):
            def encode_documents(self, texts, *, progress=None):
                maybe_fork("encoder")
                return super().encode_documents(texts)

        index._encoder = Encoder(dim=8)
        try:
            added = index.add(stream(), progress=lambda stage, done, total: maybe_fork("progress"))
        except (LeaveError, IndexClosedError) as err:
            if process[0]:
                raise
            if child_does == "drops it":
                err.__traceback__ = None
                del index
                gc.collect()
            os._exit(0)
        except BaseException:
            if process[0]:
                raise
            os._exit(2)
        if not process[0]:
            os._exit(3)
        assert join(*process) == [0]
        assert added == 300
        assert_whole(index, 303)
        index.close()

    def test_a_child_forked_inside_a_write_ends_before_the_write_goes_on(self, tmp_path):
        """With all that ends an interpreter: buffers are flushed, objects are freed."""
        script = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from colbert_rag import Document, Index
from colbert_rag.testing import HashEncoder
def stream():
    for n in range(600):
        if n == 550:
            if not (child := os.fork()):
                sys.exit()
            assert os.waitpid(child, 0)[1] == 0
        yield Document(str(n), f"text {{n}} " * 5)
index = Index.create({str(tmp_path / "index")!r}, HashEncoder(dim=8))
index.add(stream())
print(len(index), index.verify().problems, len(index.search("text", 1_000)))
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
        assert (done.stdout, done.stderr) == ("600 () 600\n", "")

    def test_a_transaction_that_was_open_at_the_fork_ends_in_the_parent_alone(self, tmp_path):
        index = make(tmp_path / "index")
        with index._catalog.reading() as reading:

            def child():
                with pytest.raises(IndexClosedError):
                    reading.count()

            assert join(fork(child)) == [0]
            assert reading.count() == 3
        assert_whole(index, 3)
        index.close()


OTHER = """
import sys
sys.path[:0] = {paths!r}
from colbert_rag import Document, Index
from colbert_rag.testing import HashEncoder
with Index.open({path!r}, HashEncoder(dim=8)) as index:
    index.add([Document(sys.argv[1], "text")])
"""


def add_in_another_program(path, document_id):
    script = OTHER.format(paths=sys.path, path=str(path))
    subprocess.run([sys.executable, "-c", script, document_id], check=True, timeout=120)


@pytest.mark.usefixtures("needs_fork")
class TestIndexOpenedAgainInTheChild:
    """SQLite in the child would take the parent's locks for its own."""

    def test_it_has_locks_of_its_own_when_the_parent_is_done(self, tmp_path):
        """Without them the parent, as the last user that anybody knows of, takes the log away from under the child."""
        index = make(tmp_path / "index")
        assert len(found(index)) == 3
        is_closed, tell = os.pipe()
        is_open, tell_open = os.pipe()

        def child():
            with Index.open(index.path, ENCODER) as again:
                assert len(again) == 3
                os.write(tell_open, b"x")
                os.read(is_closed, 1)
                for n in range(5):
                    add_in_another_program(index.path, f"other{n}")
                    assert again.get(f"other{n}") is not None
                    again.add([Document(f"child{n}", TEXT)])
                assert_whole(again, 13)

        process = fork(child)
        # so that reading ends with the child, whatever it came to
        os.close(tell_open)
        os.read(is_open, 1)
        index.close()
        os.write(tell, b"x")
        assert join(process) == [0]
        with Index.open(index.path, ENCODER) as again:
            assert_whole(again, 13)

    def test_its_write_lock_keeps_other_programs_out(self, tmp_path):
        index = make(tmp_path / "index")
        script = OTHER.format(paths=sys.path, path=str(index.path)).replace("dim=8)", "dim=8), lock_timeout_s=0", 1)

        def child():
            def documents():
                yield Document("slow", TEXT)
                done = subprocess.run(
                    [sys.executable, "-c", script, "b"], capture_output=True, text=True, timeout=120, check=False
                )
                assert "IndexLockedError" in done.stderr

            with Index.open(index.path, ENCODER) as again:
                again.add(documents())

        assert join(fork(child)) == [0]
        assert_whole(index, 4)
        index.close()

    @pytest.mark.parametrize("call", ["open", "verify", "restore"])
    def test_what_another_thread_was_using_at_the_fork_is_refused_with_words(self, tmp_path, call):
        index = make(tmp_path / "index")
        calls = {
            "open": lambda: Index.open(index.path, ENCODER),
            "verify": lambda: verify_folder(index.path),
            "restore": lambda: restore_index(index.path, tmp_path / "restored", ENCODER),
        }

        def child():
            with pytest.raises(IndexClosedError, match=r"another thread was using this index.*spawn"):
                calls[call]()

        def in_use(documents):
            for document in documents:
                yield document
                assert join(fork(child)) == [0]

        index.add(in_use([Document("new", TEXT)]))
        assert_whole(index, 4)
        index.close()
        # it is over when the call is
        assert join(fork(lambda: Index.open(index.path, ENCODER).close())) == [0]

    @pytest.mark.parametrize("made_by", ["create", "backup"])
    def test_a_catalog_that_another_thread_was_making_at_the_fork_is_refused_with_words(
        self, tmp_path, monkeypatch, made_by
    ):
        """Its file is the one that gets the index's name later."""
        index, path, processes = make(tmp_path / "index"), tmp_path / "new", []
        is_made, tell = os.pipe()

        def child():
            os.read(is_made, 1)
            with pytest.raises(IndexClosedError, match=r"another thread was using this index.*spawn"):
                Index.open(path, ENCODER)

        def forking(work):
            def forked(*args):
                work(*args)
                if not processes:
                    processes.append(fork(child))

            return forked

        if made_by == "create":
            monkeypatch.setattr(Writing, "initialise", forking(Writing.initialise))
            Index.create(path, ENCODER).close()
        else:
            index.backup(path, progress=forking(lambda *_: None))
        os.write(tell, b"x")
        assert join(*processes) == [0]
        # it is over when the call is
        assert join(fork(lambda: Index.open(path, ENCODER).close())) == [0]
        index.close()


def test_an_index_goes_to_spawned_processes_and_works_there(tmp_path):
    with make(tmp_path / "index") as index, ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(found, [index] * 4)) == [found(index)] * 4


@pytest.mark.usefixtures("needs_fork")
def test_a_pool_of_forked_processes_works_with_indexes_that_it_opens(tmp_path):
    with make(tmp_path / "index") as index, ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        assert list(pool.map(found, [index] * 4)) == [found(index)] * 4


def test_sixteen_threads_search_and_write_through_one_object(tmp_path):
    with make(tmp_path / "index") as index, ThreadPoolExecutor(16) as pool:

        def work(n):
            if n % 4 == 0:
                index.add([Document(f"n{n}", f"{TEXT} {n}")])
            return len(found(index))

        counts = list(pool.map(work, range(96)))
        assert all(3 <= count <= 27 for count in counts)
        assert_whole(index, 27)
