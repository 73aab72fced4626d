from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import pytest

from colbert_rag.errors import CorruptIndexError, IndexExistsError, StorageError
from colbert_rag.storage import copying
from colbert_rag.storage.copying import appearing_folder, copy_file, open_file
from colbert_rag.storage.files import sha256_of
from colbert_rag.storage.records import FileRecord
from colbert_rag.storage.system_errors import UnreadableError


def record_of(path):
    return FileRecord(name=path.name, size=path.stat().st_size, sha256=sha256_of(path))


@pytest.fixture
def stored(tmp_path):
    """A file of an index, of three blocks and a bit."""
    path = tmp_path / "index" / "segment-1" / "codes.npy"
    path.parent.mkdir(parents=True)
    path.write_bytes(os.urandom(3 * (1 << 20) + 7))
    return path


def test_a_folder_appears_when_its_block_ends_well(tmp_path):
    target = tmp_path / "deep" / "target"
    with appearing_folder(target) as building:
        assert not target.exists()
        assert building.parent == target.parent
        (building / "file").write_text("whole")
    assert (target / "file").read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_a_folder_whose_block_fails_never_was(tmp_path):
    def fail():
        with appearing_folder(tmp_path / "target") as building:
            (building / "file").touch()
            int("no number")

    with pytest.raises(ValueError, match="no number"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_was_taken_meanwhile_is_not_taken_away(tmp_path):
    target = tmp_path / "target"
    with pytest.raises(IndexExistsError), appearing_folder(target):
        target.write_text("of somebody else")
    assert target.read_text() == "of somebody else"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_whose_name_cannot_be_made_durable_never_was(tmp_path, monkeypatch):
    target = tmp_path / "target"

    def fails(folder):
        if target.exists():
            raise StorageError("the disk fails")

    monkeypatch.setattr(copying, "sync_folder", fails)
    with pytest.raises(StorageError, match="the disk fails"), appearing_folder(target):
        pass
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    with appearing_folder(target) as building:
        (building / "file").write_text("whole")
    assert [path.name for path in target.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises((StorageError, IndexExistsError)), appearing_folder(tmp_path / "file" / "target"):
        pass


def test_a_copy_has_every_byte_and_its_steps_add_up(stored, tmp_path):
    record = record_of(stored)
    with open_file(tmp_path / "index", "segment-1", record) as file:
        sizes = list(copy_file(file, tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == stored.read_bytes()
    assert sum(sizes) == record.size
    assert len(sizes) == 4


def test_a_file_that_is_named_twice_is_damage_and_its_copy_stays(stored, tmp_path):
    target = tmp_path / "segment-1" / "codes.npy"
    target.parent.mkdir()
    with open_file(tmp_path / "index", "segment-1", record_of(stored)) as file:
        list(copy_file(file, target))
        with pytest.raises(CorruptIndexError, match=r"segment-1/codes\.npy: the catalog names it twice"):
            list(copy_file(file, target))
    assert target.read_bytes() == stored.read_bytes()


def test_an_open_file_outlives_its_name(stored, tmp_path):
    content = stored.read_bytes()
    with open_file(tmp_path / "index", "segment-1", record_of(stored)) as file:
        stored.unlink()
        assert file.read() == content


@pytest.mark.parametrize("damage", ["missing", "longer", "link", "linked folder", "folder", "fifo"])
def test_what_is_not_the_committed_file_is_not_opened(stored, tmp_path, damage):
    record = record_of(stored)
    if damage == "longer":
        stored.write_bytes(stored.read_bytes() + b"1")
    elif damage == "linked folder":
        stored.parent.rename(tmp_path / "elsewhere")
        stored.parent.symlink_to(tmp_path / "elsewhere")
    elif damage == "link":
        stored.rename(tmp_path / "elsewhere")
        stored.symlink_to(tmp_path / "elsewhere")
    else:
        stored.unlink()
        if damage == "folder":
            stored.mkdir()
        elif damage == "fifo":
            os.mkfifo(stored)
    with pytest.raises(CorruptIndexError, match=r"codes\.npy: .*Run colbert-rag verify .* restore it from a backup"):
        open_file(tmp_path / "index", "segment-1", record)


def test_a_copy_that_cannot_be_written_is_a_storage_error(stored, tmp_path):
    with open_file(tmp_path / "index", "segment-1", record_of(stored)) as file, pytest.raises(StorageError):
        list(copy_file(file, tmp_path / "nowhere" / "copy"))


def test_an_open_file_has_its_path_for_a_name_and_a_lack_of_files_is_no_damage(stored, tmp_path, monkeypatch):
    record = record_of(stored)
    with open_file(tmp_path / "index", "segment-1", record) as file:
        assert file.name == stored

    def fails(path, flags):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(StorageError, match="ulimit -n"):
        open_file(tmp_path / "index", "segment-1", record)


def test_a_disk_that_fails_to_give_a_file_is_named_and_no_damage(stored, tmp_path, monkeypatch):
    def fails(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    record = record_of(stored)
    with open_file(tmp_path / "index", "segment-1", record) as file:
        failing = SimpleNamespace(name=file.name, read=fails)
        with pytest.raises(UnreadableError, match=r"codes\.npy: cannot be read .*Check the disk.*backup"):
            list(copy_file(failing, tmp_path / "copy"))
    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(UnreadableError, match=r"codes\.npy: cannot be read .*Check the disk.*backup"):
        open_file(tmp_path / "index", "segment-1", record)
