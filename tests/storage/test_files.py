from __future__ import annotations

import errno
import hashlib
import os
from types import SimpleNamespace

import numpy as np
import pytest

from colbert_rag.errors import CorruptIndexError, ReadOnlyIndexError, StorageError
from colbert_rag.storage.files import (
    DTYPES,
    ArrayWriter,
    check_filled,
    disk_errors,
    make_folders,
    map_array,
    publish,
    remove_file,
    remove_folder,
    sha256_of,
    sync_folder,
    write_array,
)
from colbert_rag.storage.records import FileRecord

ROWS = np.arange(12, dtype=np.int32).reshape(4, 3)


@pytest.fixture
def stored(tmp_path):
    """A folder with ROWS in ``rows.npy``, and its record."""
    folder = tmp_path / "segment"
    folder.mkdir()
    return folder, write_array(folder / "rows.npy", ROWS)


def map_rows(folder, record):
    return map_array(folder, record, "int32", (3,), 4)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(0,), (5,), (0, 3), (5, 3), (1, 1_000)])
def test_what_was_written_is_read_by_us_and_by_numpy(tmp_path, dtype, shape):
    array = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    record = write_array(tmp_path / "a.npy", array)
    mapped = map_array(tmp_path, record, dtype, shape[1:], shape[0])
    for found in (mapped, np.load(tmp_path / "a.npy", allow_pickle=False)):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


def test_record_holds_size_and_digest_of_the_file(stored):
    folder, record = stored
    content = (folder / "rows.npy").read_bytes()
    assert (record.name, record.size) == ("rows.npy", len(content))
    assert record.sha256 == sha256_of(folder / "rows.npy") == hashlib.sha256(content).hexdigest()


def test_digest_covers_files_larger_than_a_block(tmp_path):
    content = os.urandom((1 << 20) + 17)
    (tmp_path / "large").write_bytes(content)
    assert sha256_of(tmp_path / "large") == hashlib.sha256(content).hexdigest()


def test_mapped_arrays_are_read_only(stored):
    mapped = map_rows(*stored)
    assert not mapped.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 1
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        mapped.flags.writeable = True


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


@pytest.mark.parametrize("dtype", [np.float64, np.complex64, "U4", np.bool_])
def test_types_that_are_not_stored_are_refused(tmp_path, dtype):
    with pytest.raises(ValueError, match="are not stored"):
        write_array(tmp_path / "a.npy", np.zeros(3, dtype))


@pytest.mark.parametrize(
    ("dtype", "row_shape", "n_rows"),
    [
        ("float32", (3,), 4),
        ("uint32", (3,), 4),
        ("int32", (), 12),
        ("int32", (4,), 3),
        ("int32", (3,), 3),
        ("int32", (3,), 5),
        ("int64", (3,), 2),
    ],
)
def test_another_type_or_shape_than_the_file_has_is_corrupt(stored, dtype, row_shape, n_rows):
    with pytest.raises(CorruptIndexError, match="header differs"):
        map_array(*stored, dtype, row_shape, n_rows)


@pytest.mark.parametrize("place", range(0, 128, 9))
def test_every_changed_header_byte_is_found(stored, place):
    folder, record = stored
    path = folder / "rows.npy"
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    with pytest.raises(CorruptIndexError, match="header differs"):
        map_rows(folder, record)


def test_pickles_are_not_even_parsed(tmp_path):
    np.save(tmp_path / "rows.npy", np.array([{"a": 1}], object), allow_pickle=True)
    path = tmp_path / "rows.npy"
    record = FileRecord(name="rows.npy", size=path.stat().st_size, sha256=sha256_of(path))
    with pytest.raises(CorruptIndexError, match="header differs"):
        map_array(tmp_path, record, "int32", (), 1)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 175, 177])
def test_another_size_on_disk_is_corrupt(stored, size):
    folder, record = stored
    content = (folder / "rows.npy").read_bytes()
    assert record.size == len(content) == 176
    (folder / "rows.npy").write_bytes(content[:size] + bytes(max(0, size - 176)))
    with pytest.raises(CorruptIndexError, match=f"rows.npy: {size} bytes on disk, 176 in the catalog"):
        map_rows(folder, record)


def test_a_size_that_does_not_fit_the_shape_is_corrupt(stored):
    folder, record = stored
    with (folder / "rows.npy").open("ab") as file:
        file.write(b"more")
    with pytest.raises(CorruptIndexError, match="180 bytes in the catalog, 176 for its shape"):
        map_rows(folder, record.model_copy(update={"size": 180}))


def test_a_missing_file_is_corrupt(stored):
    folder, record = stored
    (folder / "rows.npy").unlink()
    with pytest.raises(CorruptIndexError, match="missing or unreadable"):
        map_rows(folder, record)


def test_a_link_to_a_good_file_is_corrupt(stored):
    folder, record = stored
    (folder / "rows.npy").rename(folder.parent / "elsewhere.npy")
    (folder / "rows.npy").symlink_to(folder.parent / "elsewhere.npy")
    with pytest.raises(CorruptIndexError, match="not a regular file"):
        map_rows(folder, record)


def test_a_linked_folder_is_corrupt(stored):
    folder, record = stored
    (folder.parent / "link").symlink_to(folder)
    with pytest.raises(CorruptIndexError, match="not a regular file"):
        map_rows(folder.parent / "link", record)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), os.mkfifo])
def test_a_folder_or_pipe_in_place_of_a_file_is_corrupt(stored, make):
    folder, record = stored
    (folder / "rows.npy").unlink()
    make(folder / "rows.npy")
    with pytest.raises(CorruptIndexError, match="not a regular file"):
        map_rows(folder, record)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../rows.npy", "/etc/passwd", "a/b", "Rows.npy", ".hidden", "a" * 65, "rows.npy\n", "a b"]
)
def test_a_name_that_we_never_write_is_corrupt(stored, name):
    folder, record = stored
    with pytest.raises(CorruptIndexError, match="is no file name of an index"):
        map_rows(folder, record.model_copy(update={"name": name}))


def test_removing_a_folder_twice_is_no_error(stored):
    folder, _ = stored
    remove_folder(folder)
    assert not folder.exists()
    remove_folder(folder)


def test_a_folder_of_another_process_that_is_gone_cannot_be_synced(tmp_path):
    with pytest.raises(StorageError, match="gone: cannot be written"):
        sync_folder(tmp_path / "gone")


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.EIO, StorageError, "check the disk"),
        (errno.ENOSPC, StorageError, "Free space"),
        (errno.EMFILE, StorageError, "ulimit -n"),
        (errno.EACCES, ReadOnlyIndexError, "permissions"),
        (errno.EROFS, ReadOnlyIndexError, "permissions"),
    ],
)
def test_errors_of_the_system_say_where_and_what_to_do(tmp_path, number, kind, advice):
    with pytest.raises(kind, match=advice) as caught, disk_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path) in str(caught.value)
    assert os.strerror(number) in str(caught.value)


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


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="this system does not say where holes are")
def test_data_that_the_file_system_has_not_counted_yet_is_no_hole(tmp_path, monkeypatch):
    monkeypatch.setattr("colbert_rag.storage.files._MOST_HOLES", 1 << 20)
    full, hollow = tmp_path / "full", tmp_path / "hollow"
    full.write_bytes(b"x" * (2 << 20))
    hollow.write_bytes(b"x" * 4096)
    os.truncate(hollow, 64 << 20)
    if hollow.stat().st_blocks * 512 >= 1 << 20:
        pytest.skip("this file system has no holes")

    def uncounted(path):
        """As ZFS says between an fsync and the writing of its transaction group."""
        status = path.stat()
        return SimpleNamespace(st_size=status.st_size, st_blocks=1, st_mode=status.st_mode)

    check_filled(tmp_path, {full: uncounted(full)})
    with pytest.raises(CorruptIndexError, match="67,108,864 bytes in files, 4,096 of them on the disk"):
        check_filled(tmp_path, {hollow: uncounted(hollow)})


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.ENOSPC])
def test_what_the_machine_lacks_is_no_damage_of_a_file(stored, monkeypatch, number):
    def fails(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(np, "memmap", fails)
    with pytest.raises(StorageError, match=r"rows\.npy: cannot be read .* and repeat"):
        map_rows(*stored)
    monkeypatch.setattr(np, "memmap", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "EIO")))
    with pytest.raises(CorruptIndexError):
        map_rows(*stored)
