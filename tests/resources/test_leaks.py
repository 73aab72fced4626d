"""What opening, searching and adding take and give back: descriptors, threads, memory (T20)."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from colbert_rag import Document, Index, TokenVectors
from colbert_rag.testing import HashEncoder

ENCODER = HashEncoder(dim=8)
MB = 1 << 20

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc on this system")


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def vectors(n_tokens, dim=8):
    made = np.zeros((n_tokens, dim), np.float32)
    made[np.arange(n_tokens), np.arange(n_tokens) % dim] = 1
    return TokenVectors(made, np.zeros((n_tokens, 2), np.int32))


@needs_proc
@pytest.mark.parametrize("is_searched_by", ["this thread", "another thread", "nobody"])
def test_opening_and_closing_leaves_no_descriptor_no_thread_and_no_memory(fast_folder, figures, is_searched_by):
    Index.create(fast_folder / "index", ENCODER).close()
    with Index.open(fast_folder / "index", ENCODER) as index:
        index.add([Document(f"d{n}", "text " * 50) for n in range(20)])

    def once():
        with Index.open(fast_folder / "index", ENCODER) as index:
            if is_searched_by == "this thread":
                assert len(index.search("text", 5)) == 5
            elif is_searched_by == "another thread":
                thread = threading.Thread(target=lambda: index.search("text", 5))
                thread.start()
                thread.join()

    for _ in range(20):
        once()
    gc.collect()
    before = descriptors(), threading.active_count(), memory("VmRSS")
    rounds = figures.size(200, 1_000)
    for _ in range(rounds):
        once()
    gc.collect()
    assert descriptors() <= before[0]
    assert threading.active_count() <= before[1]
    # the allocator may take some for good; a connection that stays takes several times 20 kB a round
    assert memory("VmRSS") < before[2] + 4 * MB + rounds * 20_000
    figures.add("openings without a leak", rounds)


@needs_proc
def test_writing_leaves_no_descriptor_open_whether_it_ends_well_or_not(fast_folder):
    with Index.create(fast_folder / "index", ENCODER) as index:
        index.add([Document("first", "text")])
        before = descriptors()
        for n in range(12):
            index.upsert([Document("a", f"text {n}")])
            index.delete(["a"])
            with pytest.raises(ValueError, match="mine"):
                index.add(stream_that_fails(n))
            index.compact()
        assert descriptors() <= before
        assert list(index.ids()) == ["first"]
        assert len([p for p in index.path.iterdir() if p.is_dir()]) == 1


def stream_that_fails(n):
    for m in range(300):
        yield Document(f"{n} {m}", "text")
    raise ValueError("mine")


def test_a_document_of_a_million_tokens_is_added_found_compressed_and_read_again(fast_folder):
    long = Document("long", "word " * 10)
    with Index.create(fast_folder / "index", dim=8, exact_tokens=1_000_100) as index:
        index.add_vectors([(long, vectors(1_000_000)), (Document("short", "word"), vectors(1))])
        query = np.eye(8, dtype=np.float32)
        assert [(hit.id, hit.score) for hit in index.search_vectors([query])[0]] == [("long", 8.0), ("short", 1.0)]
        index.add_vectors([(Document("more", "word"), vectors(200))])
        assert index.info().is_compressed
    with Index.open(fast_folder / "index") as index:
        assert {hit.id: round(hit.score) for hit in index.search_vectors([query])[0]} == {
            "long": 8,
            "more": 8,
            "short": 1,
        }
        assert index.verify().problems == ()


def memory(name):
    """Bytes of this process as Linux names them: VmRSS, VmHWM (the peak of it) or RssAnon (without mapped files).

    ``ru_maxrss`` begins with what the parent had, which hides all that a small child of a large process takes.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


def peak():
    """The most that this process has had in memory since the last call, mapped files and all."""
    found = memory("VmHWM")
    Path("/proc/self/clear_refs").write_text("5")
    return found


def peak_of_its_own(work):
    """The most memory that is no mapped file while ``work`` runs, over what there was before."""
    found, is_over = [memory("RssAnon")], threading.Event()

    def look():
        while not is_over.wait(0.002):
            found.append(memory("RssAnon"))

    looking = threading.Thread(target=look)
    looking.start()
    work()
    is_over.set()
    looking.join()
    return max(found) - found[0]


def stream(prefix, n_documents, n_tokens, dim):
    for n in range(n_documents):
        yield Document(f"{prefix}{n}", f"text {n}"), vectors(n_tokens, dim)


def random_stream(prefix, n_documents, n_tokens, dim):
    rng = np.random.default_rng(n_documents)
    for document, tokens in stream(prefix, n_documents, n_tokens, dim):
        made = rng.standard_normal((n_tokens, dim), np.float32)
        yield document, TokenVectors(made / np.linalg.norm(made, axis=1, keepdims=True), tokens.spans)


def peaks_of(script, **given):
    """The numbers that a script prints, in a process of its own: what a process has taken once, it may keep."""
    path = [str(Path(__file__).parent), *sys.path]
    code = f"import sys\nsys.path[:0] = {path!r}\n{script.format(**given)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stderr == ""
    return [int(number) for number in done.stdout.split()]


BUDGET = """
import numpy as np
from test_leaks import memory, peak, peak_of_its_own, stream
from colbert_rag import Index
from colbert_rag.kernels import cpu

cpu.make_ready()  # before anything is measured

with Index.create({folder!r}, dim={dim}, exact_tokens=10**9) as index:
    index.add_vectors(stream("", 300, 50, {dim}))
    index.add_vectors(stream("x", 1, 5, {dim}))
    index.compact()
    before = memory("VmRSS")
    added = peak_of_its_own(lambda: index.add_vectors(stream("y", {documents}, {tokens}, {dim})))
    peak()
    index.delete([str(n) for n in range(300)])
    index.compact()
    compacted = peak()
    index.search_vectors([np.eye({dim}, dtype=np.float32)[:4]])
    print(added, compacted - before, peak() - before)
    log = index.path / "catalog.sqlite-wal"
    assert log.stat().st_size < 8 << 20, log.stat().st_size
"""


@needs_proc
def test_a_plain_stream_is_added_compacted_and_searched_within_a_budget(tmp_path):
    """Peaks of one process over what it took before: of the addition, the compaction and the search.

    The system takes back the pages of a segment that a check has read, so the addition is measured without them.
    """
    documents, tokens, dim = 4_000, 125, 128
    # 256 MB as they come; what is mapped counts as resident when it is merged
    most = 120 * MB, 400 * MB, 400 * MB
    peaks = peaks_of(BUDGET, documents=documents, tokens=tokens, dim=dim, folder=str(tmp_path / "index"))
    print(f"{documents * tokens * dim * 2 / MB:.0f} MB of float16: peaks {[round(p / MB) for p in peaks]} MB")
    assert all(found < limit for found, limit in zip(peaks, most, strict=True)), [p // MB for p in peaks]


COMPRESSED = """
from test_leaks import peak, random_stream
from colbert_rag import Index

with Index.create({folder!r}, dim={dim}, exact_tokens=20_000) as index:
    # so many that what follows trains no other codec
    index.add_vectors(random_stream("first", 1_000, {tokens}, {dim}))
    assert index.info().is_compressed
    peak()
    index.add_vectors(random_stream("some", {documents}, {tokens}, {dim}))
    some = peak()
    index.add_vectors(random_stream("more", 4 * {documents}, {tokens}, {dim}))
    print(peak() - some)
    assert index.info().codec_tokens == 1_000 * {tokens}
"""


@needs_proc
def test_four_times_as_much_is_added_to_a_compressed_index_in_the_same_memory(fast_folder):
    """A stream is taken in chunks of 256 documents and never sits in memory (docs/architecture.md)."""
    documents, tokens, dim = 500, 125, 64
    chunk, more = (n * tokens * dim * 4 for n in (256, 3 * documents))
    [grown] = peaks_of(COMPRESSED, documents=documents, tokens=tokens, dim=dim, folder=str(fast_folder / "index"))
    print(f"{more / MB:.0f} MB of float32 more: {grown / MB:.1f} MB")
    assert grown < chunk < more / 5, f"{grown:,} bytes"
