"""Files of an index that are not files, or not of the index: nothing outside the folder is read, written or removed."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hostile_case import Case
from hostile_index import HostileIndex, build

TERABYTES = 4 << 40
# those of a query and of a document do not fit settings that were changed
VECTORS = ("InvalidQueryError", "InvalidVectorsError")


def array(index: HostileIndex) -> Path:
    return index.segment / "codes.npy"


def beside(suffix: str) -> Callable[[HostileIndex], Path]:
    return lambda index: index.catalog.with_name(index.catalog.name + suffix)


def segment(index: HostileIndex) -> Path:
    return index.segment


def codec(index: HostileIndex) -> Path:
    return index.codec


def catalog(index: HostileIndex) -> Path:
    return index.catalog


def linked(which: Callable[[HostileIndex], Path]) -> Callable[[HostileIndex], None]:
    """Moved out of the folder, and a link in its place."""

    def make(index: HostileIndex) -> None:
        path = which(index)
        target = index.outside / path.name
        if path.exists():
            shutil.move(path, target)
        else:
            target.write_text("not yours either")
        path.symlink_to(target)

    return make


def instead(which: Callable[[HostileIndex], Path], put: Callable[[Path], object]) -> Callable[[HostileIndex], None]:
    """Something else in the place of a file."""

    def make(index: HostileIndex) -> None:
        path = which(index)
        path.unlink(missing_ok=True)
        put(path)

    return make


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except OSError:
        pytest.skip("only root may make a device")


def listening(path: Path) -> None:
    with suppress(OSError), closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(str(path))


def fifo(path: Path) -> None:
    """Opening it for reading would wait for ever."""
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def gone(which: Callable[[HostileIndex], Path]) -> Callable[[HostileIndex], None]:
    def make(index: HostileIndex) -> None:
        path = which(index)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return make


def hot_journal(index: HostileIndex) -> None:
    """SQLite, replaying it, removes the super-journal that it names: any file of the user's."""
    with closing(sqlite3.connect(index.catalog)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        (n_pages,) = connection.execute("PRAGMA page_count").fetchone()
    beside("-journal")(index).write_bytes(journal_naming(index.outside / "secret.txt", n_pages))


def journal_naming(victim: Path, n_pages: int) -> bytes:
    """A rollback journal of no pages with the name of a super-journal, as sqlite.org/fileformat2.html lays it out."""
    name = os.fsencode(victim)
    magic = bytes.fromhex("d9d505f920a163d7")
    numbers = (0, 0, n_pages, 512, 16_384)
    header = (magic + b"".join(n.to_bytes(4, "big") for n in numbers)).ljust(512, b"\0")
    lock_page = ((1 << 30) // 16_384 + 1).to_bytes(4, "big")
    return header + lock_page + name + len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big") + magic


def sparse_tokens(index: HostileIndex) -> None:
    """One document of terabytes of vectors, all of them zeros in a hole."""
    record = {}
    index.edit_segment(record.update)
    rows = TERABYTES // 32
    offsets = index.array("doc_offsets", "int64")
    offsets[-1] = rows
    index.put("doc_offsets", offsets)
    for name, row in (("vectors", "(16,)"), ("spans", "")):
        path = index.segment / f"{name}.npy"
        descr, size, shape = ("<f2", 32, f"({rows}, 16)") if row else ("|u1", 1, f"({rows},)")
        text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}"
        path.write_bytes(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n")
        os.truncate(path, 128 + rows * size)
    index.edit_segment(lambda record: record.update(n_tokens=rows))
    for name, size in (("vectors", 32), ("spans", 1)):
        index.edit_segment(lambda r, name=name, size=size: r["files"][name].update(size=128 + rows * size))


def sparse_centroids(index: HostileIndex) -> None:
    k = 2**18
    path = index.codec / "centroids.npy"
    text = f"{{'descr': '<f2', 'fortran_order': False, 'shape': ({k}, 1024)}}"
    path.write_bytes(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n")
    os.truncate(path, 128 + k * 2048)
    rotation = index.codec / "rotation.npy"
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1024, 1024)}"
    rotation.write_bytes(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n")
    os.truncate(rotation, 128 + 4 * 2**20)
    index.edit_settings(lambda record: record.update(dim=1024))
    index.edit_codec(lambda record: record.update(n_centroids=k))
    index.edit_codec(lambda record: record["files"]["centroids"].update(size=128 + k * 2048))
    index.edit_codec(lambda record: record["files"]["rotation"].update(size=128 + 4 * 2**20))


def sparse_catalog(index: HostileIndex) -> None:
    os.truncate(index.catalog, TERABYTES)


CASES = [
    Case("a link instead of an array", "search", linked(array)),
    Case("a link instead of a segment", "search", linked(segment)),
    Case("a link instead of a codec", "search", linked(codec)),
    Case("a link instead of a catalog", "open", linked(catalog)),
    Case("a link instead of the log", "open", linked(beside("-wal"))),
    Case("a link instead of the log's index", "open", linked(beside("-shm"))),
    Case("a link instead of a journal", "open", linked(beside("-journal"))),
    Case("a link to a device without end instead of an array", "search", instead(array, endless)),
    Case(
        "a link to a device without end instead of a catalog",
        "open",
        instead(catalog, endless),
        error="IndexNotFoundError",
    ),
    Case("a FIFO instead of an array", "search", instead(array, fifo)),
    Case("a FIFO instead of a catalog", "open", instead(catalog, fifo), error="IndexNotFoundError"),
    Case("a FIFO instead of the log", "open", instead(beside("-wal"), fifo)),
    Case("a FIFO instead of the log's index", "open", instead(beside("-shm"), fifo)),
    Case("a FIFO instead of a journal", "open", instead(beside("-journal"), fifo)),
    Case("a folder instead of an array", "search", instead(array, folder)),
    Case("a folder instead of the log", "open", instead(beside("-wal"), folder)),
    Case("a folder instead of a catalog", "open", instead(catalog, folder), error="IndexNotFoundError"),
    Case("a device instead of an array", "search", instead(array, device)),
    Case("a socket instead of an array", "search", instead(array, listening)),
    Case("no array", "search", gone(array)),
    Case("no segment", "search", gone(segment)),
    Case("no codec", "search", gone(codec)),
    Case("a journal that names a file of the user's", "open", hot_journal),
    Case("terabytes of vectors that are not there", "search", sparse_tokens, is_packed=False),
    Case("half a gigabyte of centroids that are not there", "verify", sparse_centroids, typed=VECTORS),
    Case("a catalog of terabytes that are not there", "open", sparse_catalog),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_files_that_lead_elsewhere_are_refused(refused, case):
    refused(case)


def test_the_journal_would_have_removed_the_file(hostile):
    """What SQLite does by itself with the folder that is refused above."""
    index = hostile(False)
    hot_journal(index)
    victim = index.outside / "secret.txt"
    assert victim.exists()
    with closing(sqlite3.connect(index.catalog)) as connection:
        connection.execute("SELECT * FROM state").fetchall()
    assert not victim.exists()


def link_among_leftovers(index: HostileIndex) -> None:
    (index.folder / "segment-0123456789abcdef").symlink_to(index.outside / "folder")


def link_in_a_leftover(index: HostileIndex) -> None:
    leftover = index.folder / "segment-0123456789abcdef"
    leftover.mkdir()
    (leftover / "folder").symlink_to(index.outside / "folder")
    (leftover / "file").symlink_to(index.outside / "secret.txt")


def link_in_a_segment(index: HostileIndex) -> None:
    (index.segment / "more").symlink_to(index.outside / "folder")


def hard_linked_array(index: HostileIndex) -> None:
    """As a backup of hard links has it: arrays are never written to, so that both are safe."""
    os.link(array(index), index.outside / "codes.npy")


def hard_linked_catalog(index: HostileIndex) -> None:
    """A write here would change the other index without its log; a snapshot of hard links is read."""
    os.link(index.catalog, index.outside / "other.sqlite")


def files_of_the_system(index: HostileIndex) -> None:
    """Of file managers and network drives, and the empty journal that another program's look has left."""
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._codes.npy", ".nfs000000000001"):
        (index.folder / name).write_bytes(b"x")
        (index.segment / name).write_bytes(b"x")
    beside("-journal")(index).touch()


def finished_creation(index: HostileIndex) -> None:
    """A kill between the two names of a new catalog leaves both."""
    os.link(index.catalog, index.catalog.with_name("catalog.sqlite.new-0123456789abcdef"))


HARMLESS = [
    Case("a link among the leftovers", "", link_among_leftovers),
    Case("links in a leftover", "", link_in_a_leftover),
    Case("a link in a segment", "", link_in_a_segment),
    Case("an array with another name elsewhere", "", hard_linked_array),
    Case("two names of one catalog in the folder", "", finished_creation),
]


def test_a_catalog_with_another_name_elsewhere_is_read_and_not_written(attack):
    said = attack(Case("another name elsewhere", "", hard_linked_catalog, typed=("ReadOnlyIndexError",)))
    assert said["open"] == said["search"] == said["verify"] == "fine", said
    assert said["compact"].startswith("ReadOnlyIndexError"), said


def test_files_of_the_system_are_no_problem(attack):
    said = attack(Case("files of the system", "", files_of_the_system))
    assert said["search"] == said["verify"] == said["compact"] == "fine", said


@pytest.mark.parametrize("case", HARMLESS, ids=str)
def test_links_are_not_followed_when_folders_are_swept(attack, case):
    said = attack(case)
    assert said["search"] == said["compact"] == "fine", said


def test_a_log_of_another_index_is_refused_or_says_what_it_says(attack, tmp_path):
    """SQLite replays any sound log; what comes of it is another catalog, whose files are not here."""

    def make(index: HostileIndex) -> None:
        other = build(tmp_path / "other", is_packed=False)
        with closing(sqlite3.connect(other / "catalog.sqlite", isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("UPDATE documents SET n_tokens = n_tokens")
            connection.execute("UPDATE state SET commits = commits + 1")
            shutil.copy(other / "catalog.sqlite-wal", beside("-wal")(index))

    said = attack(Case("a log of another index", "", make))
    assert said["open"] != "fine" or said["verify"] != "fine", said
