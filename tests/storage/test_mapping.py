from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from stored_rows import map_rows

from colbert_rag.errors import CorruptIndexError, StorageError
from colbert_rag.storage import mapping
from colbert_rag.storage.array_header import DTYPES
from colbert_rag.storage.files import (
    sha256_of,
    write_array,
)
from colbert_rag.storage.mapping import let_go, map_array
from colbert_rag.storage.records import FileRecord
from colbert_rag.storage.system_errors import UnreadableError


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(0,), (5,), (0, 3), (5, 3), (1, 1_000)])
def test_what_was_written_is_read_by_us_and_by_numpy(tmp_path, dtype, shape):
    array = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    record = write_array(tmp_path / "a.npy", array)
    mapped = map_array(tmp_path, record, dtype, shape[1:], shape[0])
    for found in (mapped, np.load(tmp_path / "a.npy", allow_pickle=False)):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says which pages are mapped")
def test_pages_that_are_let_go_leave_the_process_and_come_back_as_they_were(tmp_path):
    array = np.random.default_rng(0).integers(0, 200, (1 << 22, 2)).astype(np.uint8)
    mapped = map_array(tmp_path, write_array(tmp_path / "a.npy", array), "uint8", (2,), 1 << 22)

    def resident_kib():
        maps = Path("/proc/self/smaps").read_text(encoding="utf-8").partition(f"{tmp_path / 'a.npy'}")[2]
        return int(maps.partition("Rss:")[2].split()[0])

    np.testing.assert_array_equal(mapped, array)
    assert resident_kib() >= 8 << 10
    let_go(mapped)
    assert resident_kib() == 0
    np.testing.assert_array_equal(mapped, array)
    let_go(array)
    np.testing.assert_array_equal(mapped, array)


def test_mapped_arrays_are_read_only(stored):
    mapped = map_rows(*stored)
    assert not mapped.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 1
    with pytest.raises(ValueError, match="cannot set WRITEABLE"):
        mapped.flags.writeable = True


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


LACKED = (StorageError, r"rows\.npy: cannot be read .* and repeat")
UNREAD = (UnreadableError, r"rows\.npy: cannot be read .*Check the disk.*verify.*backup")
DAMAGE = (CorruptIndexError, r"rows\.npy: missing or unreadable .*Restore it from a backup")


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        *((number, *LACKED) for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.ENOSPC)),
        *((number, *UNREAD) for number in (errno.EIO, errno.ETIMEDOUT, errno.ESTALE)),
        *((number, *DAMAGE) for number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR)),
    ],
)
def test_only_a_name_without_a_file_behind_it_is_called_damage(stored, monkeypatch, number, kind, words):
    def fails(*args, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(mapping, "mmap", fails)
    with pytest.raises(kind, match=words):
        map_rows(*stored)
