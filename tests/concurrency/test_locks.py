"""The trap of POSIX locks: closing any descriptor of a file drops every lock that the process has on it.

SQLite keeps its locks on the catalog and on its shared memory, so nothing else in the process may open these.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from colbert_rag import Document, Index
from colbert_rag.errors import IndexLockedError
from colbert_rag.testing import HashEncoder

ENCODER = HashEncoder(dim=8)


def use(path, target):
    """Every public call that touches the folder."""
    with Index.open(path, ENCODER) as index:
        index.add([Document(str(n), f"text {n}") for n in range(30)])
        index.upsert([Document("1", "other text")], replacing={"source": "x"})
        index.delete(["2"])
        index.search("text", mode="hybrid", filter=lambda document: True)
        index.explain("text")
        index.info()
        assert index.verify().problems == ()
        index.backup(target)
        index.compact()
        list(index.find())


def test_nothing_but_sqlite_opens_the_catalog_or_its_shared_memory(tmp_path):
    script = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
opened = set()
def hook(event, args):
    if event == "open" and isinstance(args[0], (str, bytes)):
        path = str(args[0] if isinstance(args[0], str) else args[0].decode())
        if path.startswith({str(tmp_path / "index")!r}) and path.endswith((".sqlite", ".sqlite-shm", ".npy")):
            opened.add(path.split(".")[-1])
from pathlib import Path
from colbert_rag import Index
from test_locks import ENCODER, use
path = Path({str(tmp_path / "index")!r})
Index.create(path, ENCODER, exact_tokens=20).close()
sys.addaudithook(hook)
use(path, path.parent / "backup")
print(opened)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("{'npy'}\n", "")


def test_the_write_lock_holds_whatever_else_the_process_does(tmp_path):
    path = tmp_path / "index"
    Index.create(path, ENCODER).close()
    with Index.open(path, ENCODER) as index:
        index.add([Document("a", "text")])

    def look_around():
        with Index.open(path, ENCODER, lock_timeout_s=0) as other:
            assert other.verify().problems == ()
            other.info()
            other.search("text")
            with pytest.raises(IndexLockedError):
                other.add([Document("b", "text")])
            other.backup(tmp_path / "backup")

    write = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
from test_locks import *
with Index.open({str(path)!r}, ENCODER, lock_timeout_s=0) as other, pytest.raises(IndexLockedError):
    other.add([Document("c", "text")])
"""
    with Index.open(path, ENCODER) as index, index._catalog.writing():
        thread = threading.Thread(target=look_around)
        thread.start()
        thread.join()
        assert (tmp_path / "backup").exists()
        # not a fork, which would know the lock from this process's memory
        subprocess.run([sys.executable, "-c", write], check=True, timeout=120)
    with Index.open(path, ENCODER) as index:
        assert list(index.ids()) == ["a"]
