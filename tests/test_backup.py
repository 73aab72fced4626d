"""A backup is one whole commit, in bytes of its own, or it is not there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hostile_index import HostileIndex
from index_bytes import index_bytes

from colbert_rag import CorruptIndexError, Document, Index, IndexExistsError
from colbert_rag.testing import HashEncoder

N = 80
COMPRESSED = {"exact_tokens": 500, "probe_tokens": 600}
# exits with 0 where the writer lock is held by somebody else; the last one out would remove the log
TRY_TO_WRITE = """
import sys
from colbert_rag import Index, IndexLockedError
try:
    Index.open(sys.argv[1], lock_timeout_s=0.05).delete(["nobody"])
except IndexLockedError:
    sys.exit(0)
sys.exit(3)
"""


def make_text(n):
    return f"amber n{n} river. A zephyr over meadow {n % 7}. The birch number {n} stands in the valley."


def generation(number, size=20):
    return [Document(f"d{n:02}", f"river meadow number {n} in generation {number}", {"g": number}) for n in range(size)]


def names_beside(path):
    return {p.name for p in path.parent.iterdir()}


def assert_refused(index, target, words):
    """Damage stops the backup, and nothing of it is left."""
    before = names_beside(target)
    with pytest.raises(CorruptIndexError, match=words):
        index.backup(target)
    assert names_beside(target) == before


@pytest.fixture(scope="session", params=[{}, COMPRESSED], ids=["exact", "compressed"])
def built(request, tmp_path_factory, encoder):
    path = tmp_path_factory.mktemp("built") / "index"
    with Index.create(path, encoder, **request.param) as made:
        made.add([Document(f"d{n:03}", make_text(n), {"n": n}) for n in range(60)])
        made.add([Document(f"d{n:03}", make_text(n), {"n": n}) for n in range(60, N)])
        made.delete(["d003", "d070"])
    return path


@pytest.fixture
def index(built, encoder, fast_folder):
    with Index.open(shutil.copytree(built, fast_folder / "index"), encoder) as opened:
        yield opened


def test_a_backup_answers_as_the_index_does(index, encoder, fast_folder):
    report = index.backup(fast_folder / "copy")
    with Index.open(fast_folder / "copy", encoder) as copy:
        assert list(copy.find()) == list(index.find())
        for query in ("amber birch", "n7 n8", "zephyr"):
            assert copy.search(query, 7) == index.search(query, 7)
            assert copy.search(query, 7, mode="bm25") == index.search(query, 7, mode="bm25")
        verified = copy.verify()
        assert verified.problems == verified.leftovers == ()
        assert (report.documents, report.files, report.bytes) == (len(index), verified.files, verified.bytes)
        assert report.path == str(fast_folder / "copy")
        copy.add([Document("new", "a walrus")])
    assert "new" not in index


def test_a_backup_shares_no_byte_with_the_index(index, fast_folder):
    index.backup(fast_folder / "copy")
    assert all(path.stat().st_nlink == 1 for path in (fast_folder / "copy").rglob("*") if path.is_file())


def test_a_backup_leaves_the_index_as_it_is(index, fast_folder):
    before = index_bytes(index.path)
    index.backup(fast_folder / "copy")
    assert index_bytes(index.path) == before


def test_an_index_open_for_reading_only_is_copied_too(index, encoder, fast_folder):
    index.close()
    with Index.open(index.path, encoder, read_only=True) as reader:
        assert reader.backup(fast_folder / "copy").documents == N - 2


def test_an_empty_index_is_copied_too(new_index, fast_folder, encoder):
    new_index().backup(fast_folder / "a" / "copy")
    with Index.open(fast_folder / "a" / "copy", encoder) as copy:
        assert len(copy) == 0


def test_a_backup_holds_one_commit_while_another_thread_writes(new_index, encoder, fast_folder):
    index = new_index()
    index.add(generation(0))
    is_over = threading.Event()
    failed = []

    def write():
        number = 0
        try:
            while not is_over.is_set():
                number += 1
                index.upsert(generation(number))
                if number % 3 == 0:
                    index.compact()
        except BaseException as err:
            failed.append(err)

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    try:
        for n in range(12):
            index.backup(fast_folder / f"copy{n}")
            with Index.open(fast_folder / f"copy{n}", encoder) as copy:
                found = list(copy.find())
            [number] = {document.metadata["g"] for document in found}
            assert found == generation(number)
            seen.add(number)
    finally:
        is_over.set()
        writer.join()
    assert not failed
    assert len(seen) > 1


def test_files_that_a_merge_removes_meanwhile_are_in_the_backup(index, encoder, fast_folder):
    before = list(index.find())
    is_done = []

    def progress(stage, done, total):
        if stage == "copy" and not is_done:
            is_done.append(True)
            index.upsert([Document("later", "a walrus")])
            index.compact()

    index.backup(fast_folder / "copy", progress=progress)
    assert "later" in index
    with Index.open(fast_folder / "copy", encoder) as copy:
        assert list(copy.find()) == before
        assert copy.verify().problems == ()


def test_progress_is_told_to_its_end(index, fast_folder):
    calls = {}
    index.backup(fast_folder / "copy", progress=lambda stage, done, total: calls.update({stage: (done, total)}))
    assert calls.keys() >= {"catalog", "copy", "verify"}
    assert all(done == total > 0 for done, total in calls.values())


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_nothing_is_overwritten(index, fast_folder, kind):
    target = fast_folder / "target"
    {
        "folder": target.mkdir,
        "file": target.touch,
        "link": lambda: target.symlink_to(fast_folder / "nowhere"),
    }[kind]()
    before = names_beside(target)
    with pytest.raises(IndexExistsError, match=r"exists already.*Choose another path"):
        index.backup(target)
    assert names_beside(target) == before


def test_a_target_inside_the_index_is_refused(index):
    with pytest.raises(IndexExistsError, match="inside the index"):
        index.backup(index.path / "copy")
    assert index.verify().problems == ()


def test_a_damaged_index_gives_no_backup_and_its_damage_is_named(index, fast_folder):
    path = sorted(index.path.glob("segment-*/doc_keys.npy"))[0]
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert_refused(index, fast_folder / "copy", r"doc_keys\.npy.*colbert-rag restore")


@pytest.mark.parametrize("damage", ["missing", "short", "link"])
def test_a_file_that_is_not_the_committed_one_stops_a_backup_at_once(index, fast_folder, damage):
    path = sorted(index.path.glob("segment-*/spans.npy"))[0]
    content = path.read_bytes()
    path.unlink()
    if damage == "short":
        path.write_bytes(content[:-1])
    elif damage == "link":
        (fast_folder / "elsewhere").write_bytes(content)
        path.symlink_to(fast_folder / "elsewhere")
    assert_refused(index, fast_folder / "copy", r"spans\.npy")


def test_a_file_of_holes_is_refused_by_its_name_before_anything_is_copied(index, fast_folder):
    hostile = HostileIndex(index.path, fast_folder)
    hostile.hollow("spans", 128 << 20)
    if (hostile.segment / "spans.npy").stat().st_blocks * 512 >= 1 << 20:
        pytest.skip("this file system has no holes")
    stages = []
    with pytest.raises(CorruptIndexError, match=r"segment-.* of them on the disk; the largest is spans\.npy"):
        index.backup(fast_folder / "copy", progress=lambda stage, done, total: stages.append(stage))
    assert stages == []
    assert names_beside(fast_folder / "copy") == {"index"}


@pytest.mark.parametrize("stage", ["catalog", "copy", "verify"])
def test_an_interrupted_backup_leaves_nothing(index, fast_folder, stage):
    def progress(current, done, total):
        if current == stage:
            raise KeyboardInterrupt

    before = names_beside(fast_folder / "copy")
    with pytest.raises(KeyboardInterrupt):
        index.backup(fast_folder / "copy", progress=progress)
    assert names_beside(fast_folder / "copy") == before
    assert len(index) == N - 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("stage", ["catalog", "copy", "verify"])
def test_a_killed_backup_does_not_take_the_name(index, encoder, fast_folder, stage):
    index.close()
    child = os.fork()
    if child == 0:
        try:
            with Index.open(index.path, encoder) as again:
                again.backup(
                    fast_folder / "copy",
                    progress=lambda current, *_: current == stage and os.kill(os.getpid(), signal.SIGKILL),
                )
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert not (fast_folder / "copy").exists()
    assert [name for name in names_beside(fast_folder / "copy") if name.startswith("copy.unfinished-")]
    with Index.open(index.path, encoder) as again:
        again.backup(fast_folder / "copy")


def test_a_backup_drops_no_lock_of_a_writer_in_the_same_process(index, encoder, fast_folder):
    """POSIX locks are lost when any descriptor of the file is closed: SQLite's trap for programs like this one."""
    outcomes = []
    log = index.path / "catalog.sqlite-wal"

    class Slow(HashEncoder):
        def encode_documents(self, texts, *, progress=None):
            with Index.open(index.path, encoder) as other:
                other.backup(fast_folder / "copy")
            before = log.stat().st_ino
            command = [sys.executable, "-c", TRY_TO_WRITE, str(index.path)]
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
            outcomes.append(subprocess.run(command, check=False, env=environment).returncode)
            outcomes.append(log.exists() and log.stat().st_ino == before)
            return super().encode_documents(texts, progress=progress)

    with Index.open(index.path, Slow(dim=32)) as writer:
        writer.add([Document("new", "written while a backup runs")])
    assert outcomes == [0, True]
    assert "new" in index
