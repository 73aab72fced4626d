"""An encoder that says it is on a device: documents are encoded in a thread while others are written."""

from __future__ import annotations

import os
import signal
import threading
from contextvars import ContextVar
from itertools import count

import pytest

from colbert_rag import Document, DuplicateIdError, Index, InvalidDocumentError
from colbert_rag.errors import IndexClosedError
from colbert_rag.ingest import WriteSession
from colbert_rag.overlapping import Encoding
from colbert_rag.testing import HashEncoder

CHUNK = 10


class Elsewhere(HashEncoder):
    """Says that it is on a device, and notes what it is called with, and by which thread."""

    device = "cuda:0"

    def __init__(self):
        super().__init__(16)
        self.calls = []
        self.threads = set()
        self.is_inside = threading.Lock()

    def encode_documents(self, texts, *, progress=None):
        assert self.is_inside.acquire(blocking=False), "called twice at a time"
        try:
            self.calls.append(len(texts))
            self.threads.add(threading.get_ident())
            return self.encoded(texts, progress)
        finally:
            self.is_inside.release()

    def encoded(self, texts, progress):
        return super().encode_documents(texts, progress=progress)


def documents(start, end, version=0):
    return [Document(f"d{n:03}", f"word{n} alpha{n % 7} beta{version}", {"n": n}) for n in range(start, end)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr("colbert_rag.writing._CHUNK_DOCUMENTS", CHUNK)
    # nothing here is about durability
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def make(tmp_path):
    """``make(encoder)``: an empty index, closed at the end; then no thread that encodes is left."""
    made = []

    def make(encoder, **options):
        made.append(Index.create(tmp_path / f"index{len(made)}", encoder, **options))
        return made[-1]

    yield make
    assert not [thread for thread in threading.enumerate() if thread.name == "colbert_rag encoding"]
    for index in made:
        index.close()


class TestResults:
    @pytest.mark.parametrize("exact_tokens", [50_000, 60], ids=["plain", "compressed"])
    def test_files_documents_and_progress_are_those_of_an_encoder_on_the_processor(
        self, make, exact_tokens, monkeypatch
    ):
        told, written = [], []
        for encoder in (Elsewhere(), HashEncoder(16)):
            # names of folders are drawn, and segments are read in the order of their names
            numbers = count()
            monkeypatch.setattr("secrets.token_hex", lambda n, numbers=numbers: f"{next(numbers):016x}")
            index, events = make(encoder, exact_tokens=exact_tokens), []

            def tell(*event, events=events):
                events.append((*event, threading.get_ident()))

            counts = [
                index.add(iter(documents(0, 45)), progress=tell),
                index.add(documents(45, 78), progress=tell, commit_every=25),
                index.upsert(documents(30, 40) + documents(40, 95, version=1), progress=tell),
            ]
            assert index.verify().problems == ()
            told.append(events)
            # with the digest of every file
            written.append((counts, index._catalog.read(index._catalog.state), list(index.find())))
        assert told[0] == told[1]
        assert written[0] == written[1]

    def test_chunks_of_which_nothing_is_to_be_written_are_passed_over_in_order(self, make):
        encoder = Elsewhere()
        index = make(encoder)
        index.add(documents(0, 40))
        encoder.calls.clear()
        changed = documents(0, 10, version=1) + documents(10, 30) + documents(30, 45, version=1)
        assert index.upsert(changed) == 25
        assert encoder.calls == [10, 10, 5]
        assert sorted(index.find(), key=lambda document: document.id) == changed

    def test_an_encoder_on_the_processor_is_called_in_the_callers_thread(self, make):
        encoder = Elsewhere()
        for where in ("cpu", "cpu:0", None):
            encoder.device = where
            make(encoder).add(documents(0, 25))
        assert encoder.threads == {threading.get_ident()}


class TestOverlap:
    def test_the_next_chunk_is_encoded_while_one_is_written(self, make, monkeypatch):
        is_begun = threading.Event()

        class Encoder(Elsewhere):
            def encoded(self, texts, progress):
                if len(self.calls) == 2:
                    is_begun.set()
                return super().encoded(texts, progress)

        original, waited = WriteSession.write, []

        def write(*args, **options):
            # without a thread it would be written first, and nothing would ever begin
            waited.append(is_begun.wait(60))
            original(*args, **options)

        monkeypatch.setattr(WriteSession, "write", write)
        assert make(Encoder()).add(documents(0, 20)) == 20
        assert waited == [True, True]

    def test_no_more_than_one_chunk_is_encoded_or_read_ahead_of_what_is_written(self, make, monkeypatch):
        written, ahead = [0], []

        class Encoder(Elsewhere):
            def encoded(self, texts, progress):
                ahead.append(sum(self.calls) - written[0])
                return super().encoded(texts, progress)

        original = WriteSession.write

        def write(self, chunk, *args, **options):
            original(self, chunk, *args, **options)
            written[0] += len(chunk)

        def stream():
            for n, document in enumerate(documents(0, 95)):
                ahead.append(n + 1 - written[0])
                yield document

        monkeypatch.setattr(WriteSession, "write", write)
        make(Encoder()).add(stream())
        assert max(ahead) <= 2 * CHUNK

    def test_one_thread_of_a_call_calls_the_encoder_once_at_a_time_with_the_callers_context(self, make):
        setting = ContextVar("setting", default="none")

        class Encoder(Elsewhere):
            def encoded(self, texts, progress):
                assert setting.get() == "the caller's"
                return super().encoded(texts, progress)

        encoder = Encoder()
        setting.set("the caller's")
        make(encoder).add(documents(0, 95), commit_every=30)
        assert len(encoder.calls) == 10
        assert len(encoder.threads - {threading.get_ident()}) == len(encoder.threads) == 1


class TestFailures:
    @pytest.mark.parametrize(
        "error", [RuntimeError("mine"), KeyboardInterrupt(), SystemExit(), IndexClosedError("my own")]
    )
    @pytest.mark.parametrize("write", ["add", "upsert"])
    def test_what_an_encoder_raises_reaches_the_caller_as_it_is_and_nothing_is_written(self, make, error, write):
        class Encoder(Elsewhere):
            def encoded(self, texts, progress):
                if len(self.calls) == 4:
                    raise error
                return super().encoded(texts, progress)

        index = make(Encoder())
        index.add(documents(0, 10))
        with pytest.raises(type(error)) as caught:
            getattr(index, write)(iter(documents(10, 60)))
        assert caught.value is error
        assert sorted(index.ids()) == [d.id for d in documents(0, 10)]
        assert index.add(documents(10, 20)) == 10
        assert index.verify().problems == ()

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            (Document("", "no id"), InvalidDocumentError),
            (Document("d000", "of the index"), DuplicateIdError),
            (Document("d017", "of the chunk before, which is not written yet"), DuplicateIdError),
            (Document("d005", "of a chunk that is written"), DuplicateIdError),
        ],
    )
    def test_what_is_refused_without_a_thread_is_refused_with_one_in_the_same_words(self, make, wrong, error):
        said = []
        for encoder in (Elsewhere(), HashEncoder(16)):
            index = make(encoder)
            index.add(documents(0, 5))
            with pytest.raises(error, match="Nothing was written") as caught:
                index.add(iter([*documents(5, 25), wrong, *documents(25, 60)]))
            said.append(str(caught.value).replace(str(index.path), ""))
            assert sorted(index.ids()) == [d.id for d in documents(0, 5)]
            assert index.add(documents(5, 6)) == 1
        assert said[0] == said[1]

    def test_an_interrupt_stops_the_encoder_at_its_next_progress_and_leaves_the_index_as_it_was(self, make):
        class Encoder(Elsewhere):
            def encoded(self, texts, progress):
                if len(self.calls) == 3:
                    signal.raise_signal(signal.SIGINT)
                while len(self.calls) == 3:
                    progress("encode", 1, 2)
                return super().encoded(texts, progress)

        index = make(Encoder())
        index.add(documents(0, 10))
        with pytest.raises(KeyboardInterrupt):
            index.add(documents(10, 60))
        assert not [thread for thread in threading.enumerate() if thread.name == "colbert_rag encoding"]
        assert len(index) == 10
        assert index.add(documents(10, 20)) == 10

    def test_an_error_of_the_progress_stops_the_encoder_before_another_writer_may_call_it(self, make):
        class Encoder(Elsewhere):
            def encoded(self, texts, progress):
                while len(self.calls) == 2:
                    progress("encode", 1, 2)
                return super().encoded(texts, progress)

        def fail(stage, done, total):
            if stage == "index":
                raise ValueError("mine")

        encoder = Encoder()
        index = make(encoder)
        with pytest.raises(ValueError, match="mine"):
            index.add(documents(0, 30), progress=fail)
        assert not encoder.is_inside.locked()
        assert len(index) == 0

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    @pytest.mark.parametrize("where", ["stream", "progress", "encoder"])
    def test_a_child_that_is_forked_meanwhile_is_refused_or_ends_and_the_parent_goes_on(self, make, where):
        children = []

        def maybe_fork(here):
            if here == where and not children:
                children.append(os.fork())

        class Encoder(Elsewhere):
            def encoded(self, texts, progress):
                if len(self.calls) == 2:
                    maybe_fork("encoder")
                return super().encoded(texts, progress)

        def stream():
            yield from documents(0, 35)
            maybe_fork("stream")

        index, parent = make(Encoder()), os.getpid()
        try:
            added = index.add(stream(), progress=lambda stage, done, total: maybe_fork("progress"))
        except IndexClosedError:
            if os.getpid() == parent:
                raise
            os._exit(0)
        finally:
            if os.getpid() != parent:
                os._exit(1)
        _, status = os.waitpid(children[0], 0)
        # in the encoder it is the thread that was forked, which can refuse nobody
        assert os.waitstatus_to_exitcode(status) == (1 if where == "encoder" else 0)
        assert (added, len(index)) == (35, 35)
        assert index.verify().problems == ()


def test_without_documents_nobody_is_asked_where_the_encoder_is():
    encoding = Encoding(lambda documents, progress: pytest.fail("called"), lambda: pytest.fail("asked"))
    assert [(chunk, list(vectors(None))) for chunk, _, vectors in encoding.each([("a", []), ("b", [])])] == [
        ("a", []),
        ("b", []),
    ]
    encoding.close()
