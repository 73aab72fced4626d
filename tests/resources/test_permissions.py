"""Folders that cannot be written: reading works, writing is refused with words, nothing is created (T14)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from children import fork, join, running

from colbert_rag import Document, Index
from colbert_rag.errors import ReadOnlyIndexError, StorageError
from colbert_rag.testing import HashEncoder
from colbert_rag.verifying import verify_folder

ENCODER = HashEncoder(dim=8)
NOBODY = 65_534

as_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can change users")


def make(path):
    index = Index.create(path, ENCODER, exact_tokens=30)
    index.add([Document(f"d{n}", f"text {n} of many words", {"n": n}) for n in range(20)])
    return index


def content(path):
    return {p.relative_to(path): p.read_bytes() if p.is_file() else None for p in path.rglob("*")}


def assert_readable(path, n=20):
    with Index.open(path, ENCODER) as index:
        assert (len(index), len(list(index.find({"n": {"$gte": 0}})))) == (n, n)
        for mode in ("maxsim", "bm25", "hybrid"):
            assert len(index.search("text", 100, mode=mode)) == n
        assert index.verify().problems == ()
        assert index.info().n_documents == n


def assert_refused(path):
    with Index.open(path, ENCODER) as index:
        for write in (
            lambda: index.add([Document("new", "text")]),
            lambda: index.upsert([Document("d0", "text")]),
            lambda: index.delete(["d0"]),
            index.compact,
        ):
            with pytest.raises(ReadOnlyIndexError, match=r"write"):
                write()


@pytest.fixture
def open_folder(fast_folder):
    """A folder that another user can reach."""
    for folder in (fast_folder, *fast_folder.parents):
        if not folder.stat().st_mode & 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
    return fast_folder


@pytest.fixture
def warm(tmp_path):
    """An index like the others."""
    make(tmp_path / "warm").close()
    return tmp_path / "warm"


def as_nobody(warm, work):
    def child():
        # what is imported late may lie where only root can read
        assert_readable(warm)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        work()

    assert join(fork(child)) == [0]


@as_root
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
class TestAnotherUsersFolder:
    def test_a_closed_index_is_read_and_not_written(self, open_folder, warm):
        make(open_folder / "index").close()
        before = content(open_folder)
        as_nobody(warm, lambda: assert_readable(open_folder / "index"))
        as_nobody(warm, lambda: assert_refused(open_folder / "index"))
        assert content(open_folder) == before

    def test_an_index_that_its_owner_has_open_is_read_up_to_the_newest_commit(self, open_folder, warm):
        make(open_folder / "index").close()
        is_open, tell = os.pipe()

        def own():
            with Index.open(open_folder / "index", ENCODER) as index:
                index.add([Document("another", "text", {"n": 20})])
                os.write(tell, b"x")
                signal.pause()

        with running(own):
            # so that reading ends with the owner, whatever it came to
            os.close(tell)
            os.read(is_open, 1)
            names = content(open_folder).keys()
            assert Path("index/catalog.sqlite-wal") in names
            as_nobody(warm, lambda: assert_readable(open_folder / "index", 21))
            as_nobody(warm, lambda: assert_refused(open_folder / "index"))
            assert content(open_folder).keys() == names

    def test_a_log_that_a_crashed_writer_left_is_named(self, open_folder, warm):
        path = open_folder / "index"
        make(path).close()

        def crash():
            Index.open(path, ENCODER).add([Document("new", "text")])
            for name in ("catalog.sqlite-shm",):
                (path / name).unlink()
            os._exit(0)

        assert join(fork(crash)) == [0]
        before = content(open_folder)

        def read():
            with pytest.raises(ReadOnlyIndexError, match=r"last writer did not finish.*Open it once with write access"):
                Index.open(path, ENCODER)

        as_nobody(warm, read)
        assert content(open_folder) == before

    @pytest.mark.parametrize("closed", ["the index", "the folder above it"])
    def test_what_this_user_may_not_look_at_is_refused_with_words(self, open_folder, warm, closed):
        above = open_folder / "above"
        make(above / "index").close()
        (above / "index" if closed == "the index" else above).chmod(0o644)

        def look():
            calls = (Index.open, Index.open_or_create, verify_folder)
            for call in calls:
                with pytest.raises(StorageError, match=r"catalog\.sqlite: cannot be read.*Check the permissions"):
                    call(above / "index")

        as_nobody(warm, look)
        above.chmod(0o755)


@pytest.fixture
def read_only_mount(tmp_path):
    """A function that shows a folder where nobody can write, not even root."""
    mounted = []

    def mount(folder):
        target = tmp_path / "mounted"
        target.mkdir()
        for command in (["mount", "--bind", folder, target], ["mount", "-o", "remount,bind,ro", target]):
            if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
                pytest.skip("no read-only mount without root")
            mounted.append(target)
        return target

    yield mount
    for target in set(mounted):
        subprocess.run(["umount", "--lazy", target], check=True)


def test_a_read_only_mount_is_read_and_not_written(tmp_path, read_only_mount):
    make(tmp_path / "index").close()
    before = content(tmp_path / "index")
    path = read_only_mount(tmp_path / "index")
    assert_readable(path)
    assert_refused(path)
    assert content(tmp_path / "index") == before


def test_an_index_opened_for_reading_only_creates_nothing_that_stays(tmp_path):
    make(tmp_path / "index").close()
    before = content(tmp_path / "index")
    with Index.open(tmp_path / "index", ENCODER, read_only=True) as index:
        assert len(index.search("text", 100)) == 20
        with pytest.raises(ReadOnlyIndexError, match="Open it without read_only"):
            index.delete(["d0"])
    assert content(tmp_path / "index") == before
