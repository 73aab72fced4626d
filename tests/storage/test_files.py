from __future__ import annotations

import errno
import hashlib
import os

import numpy as np
import pytest
from stored_rows import ROWS, map_rows

from colbert_rag.errors import StorageError
from colbert_rag.storage.files import (
    ArrayWriter,
    make_folders,
    publish,
    remove_file,
    remove_folder,
    sha256_of,
    sync_folder,
    write_array,
)


def test_record_holds_size_and_digest_of_the_file(stored):
    folder, record = stored
    content = (folder / "rows.npy").read_bytes()
    assert (record.name, record.size) == ("rows.npy", len(content))
    assert record.sha256 == sha256_of(folder / "rows.npy") == hashlib.sha256(content).hexdigest()


def test_digest_covers_files_larger_than_a_block(tmp_path):
    content = os.urandom((1 << 20) + 17)
    (tmp_path / "large").write_bytes(content)
    assert sha256_of(tmp_path / "large") == hashlib.sha256(content).hexdigest()


def test_appended_pieces_are_one_array(tmp_path):
    with ArrayWriter(tmp_path / "a.npy", np.int32, (3,)) as writer:
        for piece in (ROWS[:1], ROWS[1:1], ROWS[1:]):
            writer.append(piece)
        record = writer.finish()
    np.testing.assert_array_equal(map_rows(tmp_path, record), ROWS)


def test_flushed_rows_lie_behind_the_header_before_the_file_is_finished(tmp_path):
    with ArrayWriter(tmp_path / "a.npy", np.int32, (3,)) as writer:
        writer.append(ROWS)
        writer.flush()
        assert (tmp_path / "a.npy").read_bytes()[128:] == ROWS.tobytes()


def test_other_byte_orders_and_memory_orders_are_stored_as_ours(tmp_path):
    record = write_array(tmp_path / "a.npy", np.asfortranarray(ROWS.astype(">i4")))
    np.testing.assert_array_equal(map_rows(tmp_path, record), ROWS)


def test_an_existing_file_is_never_overwritten(stored):
    folder, _ = stored
    with pytest.raises(StorageError, match="cannot be written"):
        write_array(folder / "rows.npy", ROWS)


def test_removing_a_folder_twice_is_no_error(stored):
    folder, _ = stored
    remove_folder(folder)
    assert not folder.exists()
    remove_folder(folder)


def test_a_folder_of_another_process_that_is_gone_cannot_be_synced(tmp_path):
    with pytest.raises(StorageError, match="gone: cannot be written"):
        sync_folder(tmp_path / "gone")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_syncs_no_folders_will_do_and_a_failing_one_will_not(tmp_path, monkeypatch, number):
    def fails(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    sync_folder(tmp_path)
    with pytest.raises(StorageError):
        write_array(tmp_path / "a.npy", ROWS)


def test_missing_parents_are_made_and_each_name_is_made_durable(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("colbert_rag.storage.files.sync_folder", synced.append)
    make_folders(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]
    make_folders(tmp_path / "a" / "b")
    assert synced[2:] == [tmp_path / "a"]


def test_a_name_that_is_taken_is_never_given_again(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    publish(tmp_path / "one", tmp_path / "name")
    with pytest.raises(FileExistsError):
        publish(tmp_path / "two", tmp_path / "name")
    assert (tmp_path / "name").read_text() == "one"


def test_removing_a_file_twice_is_no_error(tmp_path):
    (tmp_path / "file").touch()
    remove_file(tmp_path / "file")
    remove_file(tmp_path / "file")
    assert not (tmp_path / "file").exists()
