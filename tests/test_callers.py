"""An error of the caller's code is his, wherever his code runs inside our transaction."""

from __future__ import annotations

import shutil
import sqlite3

import pytest

from colbert_rag import CorruptIndexError, Document
from colbert_rag.callers import caller_errors_raised, calling
from colbert_rag.restoring import restore_index
from colbert_rag.testing import HashEncoder

ERRORS = [
    sqlite3.OperationalError("database is locked: mine, not yours"),
    sqlite3.DatabaseError("disk image is malformed: mine, not yours"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "mine, not yours"),
    CorruptIndexError("another index of mine, not yours"),
    OSError(28, "mine, not yours"),
]
ONE = [Document("new", "amber")]


@pytest.fixture(params=ERRORS, ids=lambda error: type(error).__name__)
def fail(request):
    """Raises an error that could be one of the index."""

    def fail(*args, **options):
        raise request.param

    fail.error = request.param
    return fail


@pytest.fixture
def index(new_index, documents):
    """Two segments, so that there is something to merge."""
    index = new_index(exact_tokens=100)
    index.add(documents[:10])
    index.add(documents[10:12])
    return index


def in_stage(stage, fail):
    return lambda now, done, total: fail() if now == stage else None


def broken(fail, first):
    yield from first
    fail()


def assert_raised_as_it_was(call, fail):
    with pytest.raises(type(fail.error)) as caught:
        call()
    assert caught.value is fail.error


class TestWrites:
    @pytest.mark.parametrize("write", ["add", "upsert"])
    def test_in_the_stream(self, index, fail, write):
        assert_raised_as_it_was(lambda: getattr(index, write)(broken(fail, ONE)), fail)
        assert "new" not in index

    def test_in_a_stream_of_vectors(self, index, encoder, fail):
        pairs = [(ONE[0], encoder.encode_documents(["amber"])[0])]
        assert_raised_as_it_was(lambda: index.add_vectors(broken(fail, pairs)), fail)
        assert "new" not in index

    def test_in_the_encoder(self, index, fail, monkeypatch):
        monkeypatch.setattr(HashEncoder, "encode_documents", fail)
        assert_raised_as_it_was(lambda: index.add(ONE), fail)
        assert "new" not in index

    @pytest.mark.parametrize("stage", ["index", "train", "pack"])
    def test_in_the_progress(self, new_index, documents, fail, stage):
        index = new_index(exact_tokens=100)
        assert_raised_as_it_was(lambda: index.add(documents[:50], progress=in_stage(stage, fail)), fail)
        assert len(index) == 0

    def test_in_the_progress_of_a_compaction(self, index, fail):
        before = index.info().n_segments
        assert_raised_as_it_was(lambda: index.compact(progress=fail), fail)
        assert index.info().n_segments == before == 2


class TestFilters:
    @pytest.mark.parametrize(
        "use",
        [
            lambda index, fail: index.search("amber", filter=fail),
            lambda index, fail: index.explain("amber", filter=fail),
            lambda index, fail: list(index.find(fail)),
            lambda index, fail: index.delete(filter=fail),
            lambda index, fail: index.upsert([], replacing=fail),
        ],
        ids=["search", "explain", "find", "delete", "upsert"],
    )
    def test_in_a_filter(self, index, fail, use):
        assert_raised_as_it_was(lambda: use(index, fail), fail)
        assert len(index) == 12

    @pytest.mark.parametrize("use", ["delete", "upsert"])
    def test_who_keeps_the_error_does_not_keep_the_lock(self, new_index, documents, fail, use):
        index = new_index(lock_timeout_s=0.1)
        index.add(documents[:3])
        with pytest.raises(type(fail.error)):
            index.delete(filter=fail) if use == "delete" else index.upsert([], replacing=fail)
        # the error that holds all that it passed through is still there
        assert fail.error.__traceback__ is not None
        assert index.add(ONE) == 1


class TestCopies:
    @pytest.mark.parametrize("stage", ["catalog", "copy", "verify"])
    def test_in_the_progress_of_a_backup(self, index, tmp_path, fail, stage):
        assert_raised_as_it_was(lambda: index.backup(tmp_path / "copy", progress=in_stage(stage, fail)), fail)
        assert [path.name for path in tmp_path.iterdir()] == ["index"]

    @pytest.mark.parametrize("stage", ["copy", "restore", "encode", "index", "verify"])
    def test_in_the_progress_of_a_restoration(self, index, encoder, tmp_path, fail, stage):
        if stage in ("encode", "index"):
            # only what has lost its vectors is encoded anew
            shutil.rmtree(next(index.path.glob("segment-*")))
        progress, new = in_stage(stage, fail), tmp_path / "new"
        assert_raised_as_it_was(lambda: restore_index(index.path, new, encoder, progress=progress), fail)
        assert [path.name for path in tmp_path.iterdir()] == ["index"]

    def test_in_the_encoder_of_a_restoration(self, index, encoder, tmp_path, fail, monkeypatch):
        shutil.rmtree(next(index.path.glob("segment-*")))
        monkeypatch.setattr(HashEncoder, "encode_documents", fail)
        assert_raised_as_it_was(lambda: restore_index(index.path, tmp_path / "new", encoder), fail)

    def test_in_the_progress_of_a_verification(self, index, fail):
        assert_raised_as_it_was(lambda: index.verify(progress=fail), fail)


def test_what_the_caller_says_of_the_cause_of_his_error_is_kept():
    cause = KeyError("row 7")

    def failing():
        try:
            raise cause
        except KeyError as err:
            raise sqlite3.DatabaseError("mine") from err

    with pytest.raises(sqlite3.DatabaseError) as caught, caller_errors_raised(), calling():
        failing()
    assert caught.value.__cause__ is cause


def test_what_an_error_says_of_another_stays_and_leads_in_no_circle():
    def code():
        try:
            {}["key"]
        except KeyError:
            raise sqlite3.DatabaseError("mine")  # noqa: B904  # as callers do

    with pytest.raises(sqlite3.DatabaseError, match="mine") as caught, caller_errors_raised(), calling():
        code()
    assert isinstance(caught.value.__context__, KeyError)
    assert caught.value.__context__.__context__ is None
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, False)
