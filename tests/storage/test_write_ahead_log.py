from __future__ import annotations

import errno
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from colbert_rag.errors import CorruptIndexError, StorageError
from colbert_rag.storage import Catalog
from colbert_rag.storage.system_errors import UnreadableError
from colbert_rag.storage.write_ahead_log import LogCheck, check_log, refuse_damaged_log

HEADER, FRAME = 32, 24 + 16_384


@pytest.fixture
def log(tmp_path):
    """The log of a database to which three transactions of several pages were written, and where each ends."""
    path = tmp_path / "log"
    ends = []
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as connection:
        connection.executescript("PRAGMA page_size = 16384; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;")
        connection.execute("CREATE TABLE t (x)")
        for number in range(3):
            connection.execute("INSERT INTO t VALUES (?)", (bytes([number + 1]) * 40_000,))
            ends.append(((tmp_path / "db-wal").stat().st_size - HEADER) // FRAME)
        path.write_bytes((tmp_path / "db-wal").read_bytes())
    return path, ends


def flipped(path, at, bit=0):
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.with_name("flipped").write_bytes(content)
    return check_log(path.with_name("flipped"))


def test_a_sound_log_an_empty_one_and_none_are_sound(log):
    path, _ = log
    assert check_log(path) == LogCheck()
    assert check_log(path.with_name("none")) == LogCheck()
    path.write_bytes(b"")
    assert check_log(path) == LogCheck()
    refuse_damaged_log(path)


def test_checksums_are_those_that_sqlite_defines(log):
    """Word by word, as the documentation of the format has it."""
    path, _ = log
    content = path.read_bytes()
    order = "little" if content[3] == 0x82 else "big"
    sums = [0, 0]

    def add(raw):
        words = [int.from_bytes(raw[n : n + 4], order) for n in range(0, len(raw), 4)]
        for first, second in zip(words[::2], words[1::2], strict=True):
            sums[0] = (sums[0] + first + sums[1]) % 2**32
            sums[1] = (sums[1] + second + sums[0]) % 2**32

    add(content[:24])
    frame = content[HEADER : HEADER + FRAME]
    add(frame[:8])
    add(frame[24:])
    expected = b"".join(value.to_bytes(4, "big") for value in sums)
    assert frame[16:24] == expected
    assert check_log(path) == LogCheck()
    path.write_bytes(content[: HEADER + 16] + bytes(8) + content[HEADER + 24 :])
    assert check_log(path).problem is not None


def test_every_bit_of_the_header_counts(log):
    path, _ = log
    for at in range(HEADER):
        for bit in range(8):
            assert "the header is damaged" in (flipped(path, at, bit).problem or ""), (at, bit)


def test_a_flipped_bit_before_the_last_commit_is_found_and_its_frame_named(log):
    path, ends = log
    rng = random.Random(7)
    for frame in range(ends[1]):
        for at in [*range(24), *(rng.randrange(24, FRAME) for _ in range(20))]:
            found = flipped(path, HEADER + frame * FRAME + at, rng.randrange(8))
            assert f"frame {frame + 1} of {ends[2]} is damaged" in (found.problem or ""), (frame, at)


def test_a_flipped_bit_in_the_last_commit_is_told_as_a_tail(log):
    path, ends = log
    for frame in range(ends[1], ends[2]):
        found = flipped(path, HEADER + frame * FRAME + 24 + 100)
        assert (found.problem, found.tail is not None) == (None, True)


def test_a_log_that_was_cut_anywhere_is_one_that_did_not_finish(log):
    path, ends = log
    content = path.read_bytes()
    for size in (1, HEADER - 1, HEADER, HEADER + 5, HEADER + FRAME * ends[0], HEADER + FRAME * ends[1] + 9):
        path.write_bytes(content[:size])
        assert check_log(path).problem is None, size


def test_frames_of_a_log_that_was_folded_in_are_no_damage(log, tmp_path):
    """A log is written from its start again, over the frames of the one before it."""
    _, _ = log
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        for _ in range(3):
            connection.execute("INSERT INTO t VALUES (?)", (b"x" * 40_000,))
        connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        connection.execute("INSERT INTO t VALUES (1)")
        content = (tmp_path / "db-wal").read_bytes()
    again = tmp_path / "again"
    again.write_bytes(content)
    assert check_log(again) == LogCheck()
    # its header and first frames are being replaced when the power fails
    again.write_bytes(bytes(512) + content[512:])
    assert check_log(again).problem is None


def test_a_transaction_that_was_rolled_back_is_a_tail_at_most(tmp_path):
    """What did not fit into memory stands in the log already."""
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as connection:
        connection.executescript("PRAGMA page_size = 16384; PRAGMA journal_mode = WAL; PRAGMA cache_size = 2;")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("BEGIN")
        for _ in range(20):
            connection.execute("INSERT INTO t VALUES (?)", (b"x" * 40_000,))
        connection.execute("ROLLBACK")
        connection.execute("INSERT INTO t VALUES (1)")
        (tmp_path / "log").write_bytes((tmp_path / "db-wal").read_bytes())
    found = check_log(tmp_path / "log")
    assert found.problem is None
    assert "frames after the last commit" in found.tail


@pytest.mark.parametrize(("number", "kind"), [(errno.EIO, UnreadableError), (errno.EMFILE, StorageError)])
def test_a_log_that_cannot_be_read_is_named_and_no_damage(log, monkeypatch, number, kind):
    path, _ = log

    def fails(*args, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", fails)
    for look in (check_log, refuse_damaged_log):
        with pytest.raises(StorageError, match=rf"{path}: cannot be read .*{os.strerror(number)}.*repeat") as caught:
            look(path)
        assert type(caught.value) is kind


def test_a_damaged_log_is_refused_before_sqlite_forgets_what_it_held(catalog, folder, store):
    for number in range(3):
        store({f"d{number}": "text"})
    log = folder / "catalog.sqlite-wal"
    content = bytearray(log.read_bytes())
    content[HEADER + 24 + 500] ^= 1
    log.write_bytes(content)
    with pytest.raises(CorruptIndexError, match=r"catalog\.sqlite-wal: frame 1 of .* commits that follow it are lost"):
        Catalog(folder)
    log.write_bytes(bytes(a ^ (n == HEADER + 24 + 500) for n, a in enumerate(content)))
    Catalog(folder).close()
