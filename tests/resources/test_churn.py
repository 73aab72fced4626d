"""An index that is written to for ever: it neither grows nor wears out, and equal work gives equal bytes (T17, T19)."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from colbert_rag import Document, Index
from colbert_rag.testing import HashEncoder

ENCODER = HashEncoder(dim=16)
WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "glade", "heath"]
OPTIONS = {"exact": {"exact_tokens": 10**9}, "compressed": {"exact_tokens": 500, "probe_tokens": 1_000}}
N = 100
# while an index is open its log may hold as much as a commit leaves unfolded, and the commit that makes it larger
LOG_BYTES = 6 << 20


def document(number, version):
    rng = random.Random(f"{number} {version}")
    return Document(f"d{number:04}", f"{' '.join(rng.choices(WORDS, k=40))} v{version}", {"n": number})


def size_of(path):
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def record_names(path):
    connection = sqlite3.connect(path / "catalog.sqlite")
    segments = {name for (name,) in connection.execute("SELECT name FROM segments")}
    (codec,) = connection.execute("SELECT codec FROM state").fetchone()
    connection.close()
    return segments | ({json.loads(codec)["name"]} if codec else set())


def assert_lean(index, fresh_bytes):
    """A log that does not grow; no folder that is not named; all well; closed, less than three times a fresh index."""
    assert (index.path / "catalog.sqlite-wal").stat().st_size < LOG_BYTES
    assert {p.name for p in index.path.iterdir() if p.is_dir()} == record_names(index.path)
    assert index.info().n_segments <= 10
    assert index.verify().problems == ()
    index.close()
    used = size_of(index.path)
    print(f"{used / fresh_bytes:.2f} times a fresh index")
    assert used < 3 * fresh_bytes, f"{used:,} bytes, fresh {fresh_bytes:,}"


def fresh_bytes(folder, kind, documents):
    with Index.create(folder / "fresh", ENCODER, **OPTIONS[kind]) as fresh:
        fresh.add(documents)
    return size_of(folder / "fresh")


@pytest.mark.parametrize("kind", OPTIONS)
def test_upserts_of_the_same_documents_leave_less_than_three_fresh_indexes(kind, fast_folder, figures):
    rng, versions = random.Random(figures.seed), dict.fromkeys(range(N), 0)
    rounds = figures.size(200, 10_000)
    with Index.create(fast_folder / "index", ENCODER, **OPTIONS[kind]) as index:
        index.add([document(*item) for item in versions.items()])
        for _ in range(rounds):
            number = rng.randrange(N)
            versions[number] += 1
            index.upsert([document(number, versions[number])])
        assert {d.id: d.text for d in index.find()} == {
            d.id: d.text for d in map(document, *zip(*versions.items(), strict=True))
        }
        assert_lean(index, fresh_bytes(fast_folder, kind, [document(*item) for item in versions.items()]))
    figures.add("upserts of churn", rounds)


@pytest.mark.parametrize("kind", OPTIONS)
def test_deleting_and_adding_leaves_less_than_three_fresh_indexes(kind, fast_folder, figures):
    with Index.create(fast_folder / "index", ENCODER, **OPTIONS[kind]) as index:
        for n in range(figures.size(60, 600)):
            index.add([document(number, n) for number in range(n * 10, n * 10 + 10)])
            if n >= 10:
                index.delete([document(number, n).id for number in range(n * 10 - 100, n * 10 - 90)])
        left = list(index.find())
        assert len(left) == N
        assert_lean(index, fresh_bytes(fast_folder, kind, left))


@pytest.mark.parametrize("kind", OPTIONS)
def test_documents_added_one_by_one_lie_in_few_segments(kind, fast_folder, figures):
    n = figures.size(120, 1_000)
    with Index.create(fast_folder / "index", ENCODER, **OPTIONS[kind]) as index:
        for number in range(n):
            index.add([document(number, 0)])
        assert len(index) == n
        assert_lean(index, fresh_bytes(fast_folder, kind, [document(number, 0) for number in range(n)]))
    with Index.open(fast_folder / "index", ENCODER) as index:
        index.compact()
    assert size_of(index.path) < 1.5 * size_of(fast_folder / "fresh")


def test_the_log_stays_small_while_readers_overlap_without_a_gap(fast_folder, monkeypatch):
    """A reader of the log keeps it from being folded in; new readers do not need it, so the old ones run out."""
    monkeypatch.setattr("colbert_rag.storage.catalog._MOST_LOG_BYTES", 100_000)
    monkeypatch.setattr("colbert_rag.storage.catalog._MUCH_LOG_BYTES", 1_000_000)
    most, is_over = 0, threading.Event()
    with Index.create(fast_folder / "index", ENCODER) as index:
        index.add([document(n, 0) for n in range(N)])

        def read(n):
            while not is_over.is_set():
                with index._catalog.reading() as reading:
                    reading.count()
                    is_over.wait(0.01 + n / 200)

        readers = [threading.Thread(target=read, args=(n,)) for n in range(3)]
        for reader in readers:
            reader.start()
        for version in range(1, 40):
            index.upsert([document(n, version) for n in range(20)])
            most = max(most, (index.path / "catalog.sqlite-wal").stat().st_size)
        is_over.set()
        for reader in readers:
            reader.join()
    # one write more than the size from which on a writer waits
    assert most < 3_000_000, f"{most:,}"


DIGESTS = """
import sys
sys.path[:0] = {path!r}
from test_churn import digest_of_the_same_work
print(*(digest_of_the_same_work({folder!r}, kind) for kind in ("exact", "compressed")))
"""


def digest_of_the_same_work(folder, kind):
    """Of everything that the catalog and the array files hold, without the names of folders, which are random."""
    with Index.create(f"{folder}-{kind}", ENCODER, **OPTIONS[kind]) as index:
        index.add([document(n, 0) for n in range(N)])
        index.upsert([document(n, 1) for n in range(0, N, 3)])
        index.delete([document(n, 0).id for n in range(0, N, 7)])
        index.add([document(n, 0) for n in range(N, 2 * N)])
        index.compact()
        hits = index.search("amber birch", 50)
    files = index.path.rglob("*.npy")
    digests = sorted((p.parent.name.split("-")[0], p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files)
    connection = sqlite3.connect(index.path / "catalog.sqlite")
    rows = [connection.execute(f"SELECT * FROM {table} ORDER BY key").fetchall() for table in ("documents", "content")]
    connection.close()
    return hashlib.sha256(repr((digests, rows, hits)).encode()).hexdigest()


def test_equal_work_gives_equal_bytes_and_without_a_codec_with_any_number_of_threads(fast_folder):
    """k-means adds in another order with another number of threads, so a codec is only as equal as they are."""
    runs = []
    for n, threads in enumerate(["1", "1", "3", "3"]):
        path = [str(Path(__file__).parent), *sys.path]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        runs.append(
            subprocess.Popen(
                [sys.executable, "-c", DIGESTS.format(path=path, folder=str(fast_folder / str(n)))],
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | limits,
            )
        )
    found = [run.communicate(timeout=300)[0].split() for run in runs]
    assert [run.returncode for run in runs] == [0] * 4
    assert len({exact for exact, _ in found}) == 1
    assert found[0] == found[1]
    assert found[2] == found[3]
