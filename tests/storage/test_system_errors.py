from __future__ import annotations

import errno
import os

import pytest

from colbert_rag.errors import CorruptIndexError, ReadOnlyIndexError, StorageError
from colbert_rag.storage.system_errors import UnreadableError, disk_errors, is_too_much, read_errors


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.EIO, StorageError, "check the disk"),
        (errno.ENOSPC, StorageError, "Free space"),
        (errno.EMFILE, StorageError, "ulimit -n"),
        (errno.EACCES, StorageError, "Check the permissions of the folder, and repeat"),
    ],
)
def test_errors_of_the_system_say_where_and_what_to_do(tmp_path, number, kind, advice):
    with pytest.raises(kind, match=advice) as caught, disk_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path) in str(caught.value)
    assert os.strerror(number) in str(caught.value)


@pytest.mark.parametrize("forbidden", ["folder", "file"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_only_what_this_process_may_not_write_is_called_read_only(tmp_path, monkeypatch, forbidden, number):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(os, "access", lambda path, mode: path != {"folder": tmp_path, "file": file}[forbidden])
    with (
        pytest.raises(ReadOnlyIndexError, match=r"file: cannot be written .* Check the permissions"),
        disk_errors(file),
    ):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.EMFILE, StorageError, "ulimit -n"),
        (errno.EACCES, StorageError, "Check the permissions"),
        (errno.EIO, UnreadableError, "Check the disk"),
        (errno.ENOENT, StorageError, "Check that it is there"),
    ],
)
def test_what_cannot_be_looked_at_is_named_with_what_to_do(tmp_path, number, kind, advice):
    with pytest.raises(kind, match=advice) as caught, read_errors(tmp_path / "file"):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind
    assert str(tmp_path / "file") in str(caught.value)


@pytest.mark.parametrize("translated", [disk_errors, read_errors])
def test_what_has_its_words_already_keeps_them(tmp_path, translated):
    error = CorruptIndexError("in our words")
    with pytest.raises(CorruptIndexError) as caught, translated(tmp_path):
        raise error
    assert caught.value is error


class TestMemory:
    """SQLite says "no memory" of numbers that are too large; other lacks of memory stay what they are."""

    def test_a_callers_error_is_not_sqlites(self):
        with pytest.raises(MemoryError) as caught:
            raise MemoryError
        assert not is_too_much(caught.value)

    def test_an_error_with_words_is_numpys(self):
        assert not is_too_much(MemoryError("Unable to allocate"))

    def test_where_there_is_no_memory_nothing_asked_for_too_much(self, monkeypatch):
        monkeypatch.setattr("colbert_rag.storage.system_errors._SOME_MEMORY", 1 << 62)
        assert not is_too_much(raised_in("colbert_rag.storage.reading"))

    def test_of_sqlites_call_in_our_code_it_is_too_much(self):
        assert is_too_much(raised_in("colbert_rag.storage.reading"))


def raised_in(module):
    """The error without words that a call of C raises in a module."""
    with pytest.raises(MemoryError) as caught:
        exec("raise MemoryError", {"__name__": module})
    return caught.value
