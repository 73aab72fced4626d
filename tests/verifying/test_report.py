from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sqlite3
from contextlib import closing
from itertools import count

import pytest
import small_index
from resigning import resign, tamper

from colbert_rag import CorruptIndexError, Index, IndexClosedError, IndexLockedError, IndexNotFoundError, StorageError
from colbert_rag.storage import copying
from colbert_rag.storage.rows import content_checksum
from colbert_rag.verifying import report as verifying_report
from colbert_rag.verifying import verify_folder


def problems(path):
    return verify_folder(path).problems


def arrays(path):
    """Every array file of an index: its path inside the folder."""
    return sorted(str(p.relative_to(path)) for p in path.rglob("*.npy"))


def tree(path):
    """Every file of a folder with its bytes, but for SQLite's index of a log, which is made anew at every recovery."""
    files = (p for p in sorted(path.rglob("*")) if p.is_file() and not p.name.endswith("-shm"))
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


@pytest.mark.parametrize("kind", small_index.KINDS)
def test_a_sound_index_has_no_problems_and_all_of_it_was_read(original, kind):
    calls = []
    report = verify_folder(original(kind), lambda *call: calls.append(call))
    assert (report.problems, report.leftovers) == ((), ())
    assert (report.files, report.documents) == (len(arrays(original(kind))), 10)
    assert report.bytes == sum(p.stat().st_size for p in original(kind).rglob("*.npy"))
    assert ("verify", report.bytes, report.bytes) in calls
    assert calls[-1] == ("verify texts", 10, 10)


def test_an_empty_index_and_one_whose_documents_are_all_deleted_are_sound(tmp_path):
    with Index.create(tmp_path / "index", small_index.encoder()) as index:
        assert index.verify().ok
        index.add([small_index.document(0)])
        index.delete(["d0"])
        assert index.verify().ok


@pytest.mark.parametrize("kind", small_index.KINDS)
def test_verifying_changes_no_byte_and_leaves_nothing(original, tmp_path, kind):
    path = small_index.copied(original(kind), tmp_path / "index")
    (path / "segment-stray").mkdir()
    (path / "notes.txt").write_text("mine")
    before = tree(path)
    first = verify_folder(path)
    assert tree(path) == before
    assert verify_folder(path) == first
    assert (path / "segment-stray").is_dir()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no POSIX permissions here")
def test_a_folder_without_write_access_is_verified(path, monkeypatch):
    before = tree(path)
    real = os.access
    monkeypatch.setattr(os, "access", lambda where, mode: mode != os.W_OK and real(where, mode))
    path.chmod(0o555)
    try:
        assert verify_folder(path).ok
        assert tree(path) == before
    finally:
        path.chmod(0o755)


def test_verifying_an_open_index_sees_its_last_commit_and_a_closed_one_is_refused(path):
    with Index.open(path, small_index.encoder()) as index:
        index.add([small_index.document(50)])
        report = index.verify()
    assert (report.problems, report.documents) == ((), 11)
    with pytest.raises(IndexClosedError):
        index.verify()


def test_a_folder_that_is_no_index_is_no_damaged_one(tmp_path):
    with pytest.raises(IndexNotFoundError, match=r"catalog\.sqlite is missing"):
        verify_folder(tmp_path)


def test_every_changed_byte_of_every_array_is_found(path):
    """One byte of each file at its start, its end and between."""
    for name in arrays(path):
        file = path / name
        content = file.read_bytes()
        for place in (0, 9, 127, (128 + len(content)) // 2 if len(content) > 128 else 64, len(content) - 1):
            damaged = bytearray(content)
            damaged[place] ^= 1
            file.write_bytes(damaged)
            assert problems(path) == (f"{name}: content differs from what was committed (sha256)",)
        file.write_bytes(content)
    assert problems(path) == ()


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b""])
def test_another_size_is_found_with_both_sizes(path, change):
    for name in arrays(path):
        content = (path / name).read_bytes()
        (path / name).write_bytes(change(content))
        line = f"{name}: {len(change(content)):,} bytes on disk, {len(content):,} committed"
        assert problems(path) == (line,)
        (path / name).write_bytes(content)


def test_missing_files_links_and_folders_are_found(path):
    names = arrays(path)[:3]
    (path / names[0]).unlink()
    (path / names[1]).rename(path.parent / "moved.npy")
    (path / names[1]).symlink_to(path.parent / "moved.npy")
    (path / names[2]).unlink()
    (path / names[2]).mkdir()
    found = problems(path)
    assert any(line.startswith(f"{names[0]}: cannot be read") for line in found)
    assert f"{names[1]}: not a regular file" in found
    assert f"{names[2]}: not a regular file" in found


def test_a_link_in_place_of_a_segment_folder_is_found(path):
    folder = next(p for p in sorted(path.iterdir()) if p.name.startswith("segment-"))
    folder.rename(path.parent / "moved")
    folder.symlink_to(path.parent / "moved")
    found = problems(path)
    assert found
    assert all(line.startswith(folder.name) for line in found)


def test_a_file_in_place_of_a_segment_folder_is_found(path):
    folder = next(p for p in sorted(path.iterdir()) if p.name.startswith("segment-"))
    shutil.rmtree(folder)
    folder.touch()
    found = problems(path)
    assert found
    assert all(line.startswith(folder.name) for line in found)


def test_files_that_nobody_named_are_found(path):
    folder = next(p for p in path.iterdir() if p.is_dir())
    (folder / "extra.npy").touch()
    (path / "notes.txt").touch()
    (path / "catalog.sqlite.bak").touch()
    found = problems(path)
    assert f"{folder.name}/extra.npy: not named by the catalog" in found
    assert "notes.txt: not part of the index; remove it" in found
    assert "catalog.sqlite.bak: not part of the index; remove it" in found
    assert len(found) == 3


def test_what_an_unfinished_write_or_creation_left_is_no_damage(path):
    (path / "segment-stray").mkdir()
    (path / "catalog.sqlite.new-1").touch()
    report = verify_folder(path)
    assert report.ok
    assert report.leftovers == ("catalog.sqlite.new-1", "segment-stray")


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE content SET text = replace(text, 'a', 'b') WHERE key = 2",
        "UPDATE content SET text = CAST(X'ff' AS TEXT) WHERE key = 2",
        "UPDATE content SET metadata = '{}' WHERE key = 2",
        "UPDATE content SET checksum = checksum + 1 WHERE key = 2",
        "UPDATE content SET heading = 'other' WHERE key = 2",
        "UPDATE content SET extra = NULL WHERE key = 2",
        "UPDATE documents SET id = 'other' WHERE key = 2",
        "UPDATE documents SET ref_id = NULL WHERE key = 2",
    ],
)
def test_a_changed_document_is_found_and_never_returned(path, sql):
    tamper(path, sql, is_resigned=False)
    [line] = problems(path)
    assert "what is stored differs from what was committed (crc32)" in line
    with Index.open(path, small_index.encoder()) as index, pytest.raises(CorruptIndexError):
        index.search("word1 something", k=10)


def test_two_documents_that_changed_places_are_found(path):
    with closing(sqlite3.connect(path / "catalog.sqlite", isolation_level=None)) as connection:
        for old, new in ((2, 100), (3, 2), (100, 3)):
            connection.execute("UPDATE documents SET key = ? WHERE key = ?", (new, old))
            connection.execute("UPDATE content SET key = ? WHERE key = ?", (new, old))
    assert len([line for line in problems(path) if "(crc32)" in line]) == 2


STATE = [
    "UPDATE state SET settings = replace(settings, '\"seed\":0', '\"seed\":1')",
    "UPDATE state SET settings = settings || ' '",
    "UPDATE state SET codec = COALESCE(codec, '') || ' '",
    "UPDATE state SET commits = commits + 1",
    "UPDATE state SET next_key = next_key + 1",
    "UPDATE state SET checksum = checksum + 1",
    "UPDATE state SET tombstones = tombstones + 1",
    "UPDATE segments SET record = record || ' '",
    "DELETE FROM segments WHERE name = (SELECT MAX(name) FROM segments)",
]


@pytest.mark.parametrize("sql", STATE)
def test_a_changed_state_is_found_and_refused_at_open(path, sql):
    tamper(path, sql, is_resigned=False)
    assert any("the state and the segment records differ" in line for line in problems(path))
    with pytest.raises(CorruptIndexError, match="differ from what was committed"):
        Index.open(path, small_index.encoder())


@pytest.mark.parametrize("sql", ["DELETE FROM tombstones WHERE key = 4", "UPDATE tombstones SET key = 5 WHERE key = 4"])
def test_changed_tombstones_are_found_and_refused_at_the_first_search(path, sql):
    tamper(path, sql, is_resigned=False)
    assert any("the tombstones differ from what was committed" in line for line in problems(path))
    with Index.open(path, small_index.encoder()) as index, pytest.raises(CorruptIndexError, match="tombstones differ"):
        index.search("word3")


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        (
            "UPDATE attributes SET value = value + 1 WHERE key = 2 AND name = 'n'",
            "document 'd1': what it is filtered by",
        ),
        ("UPDATE attributes SET value = 1.0 WHERE key = 2 AND name = 'n'", "document 'd1': what it is filtered by"),
        ("DELETE FROM attributes WHERE key = 2", "document 'd1': what it is filtered by"),
        ("INSERT INTO attributes VALUES ('more', 1, 2)", "1 attributes to filter by belong to no document's metadata"),
        ("INSERT INTO attributes VALUES ('more', 1, 999)", "1 attributes to filter by belong to no"),
        ("UPDATE documents SET text_bytes = text_bytes + 1 WHERE key = 2", "document 'd1': its text has another size"),
    ],
)
def test_what_does_not_agree_with_the_documents_is_found(path, sql, words):
    tamper(path, sql)
    [line] = problems(path)
    assert words in line


def test_a_zero_whose_sign_has_changed_is_found(tmp_path):
    """Equal for SQLite, other bytes for us."""
    with Index.create(tmp_path / "index", small_index.encoder()) as index:
        index.add([small_index.document(0, {"share": 0.0})])
    tamper(tmp_path / "index", "UPDATE attributes SET value = -0.0")
    [line] = problems(tmp_path / "index")
    assert "what it is filtered by" in line


def test_metadata_that_is_not_json_is_found_though_its_checksum_fits(path):
    with closing(sqlite3.connect(path / "catalog.sqlite")) as connection:
        columns = "d.id, d.ref_id, c.heading, c.text, '{', c.extra"
        sql = f"SELECT {columns} FROM documents d JOIN content c USING (key) WHERE key = 2"
        checksum = content_checksum(2, *connection.execute(sql).fetchone())
    tamper(path, "UPDATE content SET metadata = '{', checksum = ? WHERE key = 2", checksum)
    [line] = problems(path)
    assert "document 'd1': the stored metadata is not JSON" in line


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM content WHERE key = 2", "key 2 is in documents but not in content"),
        ("DELETE FROM documents WHERE key = 2", "key 2 is in content but not in documents"),
        (
            "UPDATE documents SET n_tokens = 99 WHERE key = 2",
            "document 'd1': its vectors are missing or are not 99 tokens",
        ),
        ("DELETE FROM tombstones WHERE key = 4", "key 4 has vectors but no record"),
        ("INSERT INTO tombstones VALUES (2)", "key 2 is deleted, but still a document"),
        ("INSERT INTO tombstones VALUES (77)", "key 77 is deleted, but has no vectors to leave out"),
        ("UPDATE state SET next_key = 12", "the next key is 12, but 12 is taken"),
    ],
)
def test_records_that_do_not_fit_together_are_found_though_their_checksums_fit(path, sql, words):
    tamper(path, sql)
    assert any(words in line for line in problems(path))


def test_a_segment_that_is_no_longer_named_is_found_though_its_checksum_fits(path):
    tamper(path, "DELETE FROM segments WHERE name = (SELECT MAX(name) FROM segments)")
    report = verify_folder(path)
    assert not report.ok
    assert len(report.leftovers) == 1


def test_one_segment_named_twice_is_found(path):
    with closing(sqlite3.connect(path / "catalog.sqlite", isolation_level=None)) as connection:
        name, record = connection.execute("SELECT name, record FROM segments ORDER BY name").fetchone()
        twin = "segment-" + "0" * 16
        shutil.copytree(path / name, path / twin)
        connection.execute("INSERT INTO segments VALUES (?, ?)", (twin, record.replace(name, twin)))
    resign(path)
    assert any("hold vectors of the same document" in line for line in problems(path))


WORDS = [
    ("DELETE FROM fulltext_idx", "catalog.sqlite"),
    ("UPDATE fulltext_idx SET pgno = pgno + 2", "catalog.sqlite"),
    ("UPDATE fulltext_idx SET pgno = pgno | 1", "catalog.sqlite"),
    # the first page of each part, counted from 0 and not from 1
    ("UPDATE fulltext_data SET block = replace(block, X'010101', X'010001') WHERE id = 10", "catalog.sqlite"),
    ("DELETE FROM fulltext_docsize WHERE id = 2", "catalog.sqlite"),
    ("UPDATE fulltext_docsize SET sz = X'0101' WHERE id = 2", "a length of a document in the full-text index"),
    ("UPDATE fulltext_config SET v = 5 WHERE k = 'version'", "catalog.sqlite"),
    ("INSERT INTO fulltext_config VALUES ('crisismerge', 3)", "a setting in the full-text index"),
    ("DELETE FROM fulltext_data WHERE id > 10", "catalog.sqlite"),
    ("UPDATE fulltext_data SET block = X'0B0B0B' WHERE id = 1", "the totals in the full-text index"),
    ("INSERT INTO fulltext (rowid, heading, text) VALUES (2, '', 'more')", "at the word 'more' of key 2"),
    ("INSERT INTO fulltext (rowid, heading, text) VALUES (99, '', 'aaa')", "at the word 'aaa' of key 99"),
    ("INSERT INTO fulltext (fulltext, rowid, heading, text) VALUES ('delete', 2, '', 'alpha1')", "'alpha1' of key 2"),
]


@pytest.mark.parametrize(("sql", "words"), WORDS)
def test_a_full_text_index_that_does_not_agree_with_the_texts_is_found(path, sql, words):
    tamper(path, sql)
    found = problems(path)
    assert any(words in line for line in found), found


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE more (x)",
        "CREATE VIEW more AS SELECT 1",
        "CREATE TRIGGER more AFTER INSERT ON documents BEGIN DELETE FROM content; END",
        "CREATE INDEX more ON content (text)",
        "DROP INDEX documents_by_ref",
        "DROP TABLE tombstones",
        "DROP TABLE state",
        "DROP TABLE fulltext",
        "ALTER TABLE tombstones ADD COLUMN more TEXT",
        "PRAGMA user_version = 2",
        "PRAGMA application_id = 2",
    ],
)
def test_another_schema_is_found(path, sql):
    tamper(path, sql)
    found = problems(path)
    assert found
    assert any("catalog.sqlite" in line or "format version" in line for line in found)


def test_every_page_of_the_catalog_that_is_overwritten_is_found(path):
    file = path / "catalog.sqlite"
    content = file.read_bytes()
    size = 16_384
    assert len(content) > 5 * size
    for start in range(0, len(content), size):
        file.write_bytes(content[:start] + b"\xff" * size + content[start + size :])
        found = problems(path)
        assert any("catalog.sqlite" in line for line in found), f"page {start // size + 1}"


def test_hashes_cannot_be_made_to_fit_a_file_with_numbers_out_of_range(path):
    """Somebody who writes the catalog too is caught by the range checks."""
    with closing(sqlite3.connect(path / "catalog.sqlite", isolation_level=None)) as connection:
        name, text = connection.execute("SELECT name, record FROM segments ORDER BY name").fetchone()
        record = json.loads(text)
        file = path / name / "doc_offsets.npy"
        content = bytearray(file.read_bytes())
        content[-1] = 1
        file.write_bytes(content)
        record["files"]["doc_offsets"]["sha256"] = hashlib.sha256(content).hexdigest()
        connection.execute("UPDATE segments SET record = ? WHERE name = ?", (json.dumps(record), name))
    resign(path)
    [line] = problems(path)
    assert "numbers out of range in doc_offsets" in line


def test_searching_vectors_without_a_record_is_an_error_and_not_a_gap(path):
    tamper(path, "DELETE FROM tombstones")
    with (
        Index.open(path, small_index.encoder()) as index,
        pytest.raises(CorruptIndexError, match="vectors of documents without a record"),
    ):
        index.search("word3", k=12)


def test_damage_of_the_log_is_found_and_nothing_is_lost_without_a_word(original, tmp_path):
    path = small_index.copied(original("log"), tmp_path / "index")
    log = path / "catalog.sqlite-wal"
    content = bytearray(log.read_bytes())
    content[32 + 24 + 500] ^= 1
    log.write_bytes(content)
    assert any("catalog.sqlite-wal: frame 1 of" in line for line in problems(path))
    assert log.read_bytes() == content


@pytest.mark.parametrize("kind", small_index.KINDS)
@pytest.mark.parametrize("bit", [0, 2, 3, 4, 5, 6, 7])
def test_a_header_that_forbids_writing_is_found_though_every_read_is_right(original, tmp_path, kind, bit):
    path = small_index.copied(original(kind), tmp_path / "index")
    content = bytearray((path / "catalog.sqlite").read_bytes())
    content[18] ^= 1 << bit
    (path / "catalog.sqlite").write_bytes(content)
    before = tree(path)
    assert any("catalog.sqlite: its header says that nobody may write it" in line for line in problems(path))
    assert tree(path) == before


class OpenedForReading(sqlite3.Connection):
    """A connection whose log or shared memory SQLite could open for reading alone."""

    def execute(self, sql, *args):
        if sql.startswith("BEGIN IMMEDIATE"):
            raise sqlite3.OperationalError("attempt to write a readonly database")
        return super().execute(sql, *args)


def test_files_that_sqlite_could_open_for_reading_alone_for_a_moment_are_no_damage(path, monkeypatch):
    """Without a descriptor it cannot open them for writing, and may have one by then (unixOpenSharedMemory)."""
    connect, opened = sqlite3.connect, []

    def falling_back(database, *args, **kwargs):
        opened.append(database)
        # those before are to read
        return connect(database, *args, **kwargs, **({"factory": OpenedForReading} if len(opened) == 3 else {}))

    monkeypatch.setattr(sqlite3, "connect", falling_back)
    assert problems(path) == ()
    assert len(opened) == 4


def test_verifying_beside_a_writer_in_the_middle_of_a_write_waits_for_nobody(path):
    with closing(sqlite3.connect(path / "catalog.sqlite", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert problems(path) == ()


def test_an_exception_of_the_users_progress_is_theirs(path):
    error = ValueError("mine")

    def fail(stage, done, total):
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        verify_folder(path, fail)
    assert caught.value is error


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.ENOSPC])
def test_what_the_machine_lacks_is_no_damage(path, monkeypatch, number):
    def fails(file, flags):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(copying.os, "open", fails)
    with pytest.raises(StorageError, match="and repeat"):
        verify_folder(path)


def test_a_file_that_the_disk_fails_to_give_is_a_line_of_the_report(path, monkeypatch):
    def fails(file, flags):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(copying.os, "open", fails)
    found = verify_folder(path).problems
    assert any("cannot be read" in line and os.strerror(errno.EIO) in line for line in found), found


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sqlite3.OperationalError("database or disk is full"), StorageError),
        (sqlite3.OperationalError("unable to open database file"), StorageError),
        (sqlite3.OperationalError("database is locked"), IndexLockedError),
        (MemoryError(), MemoryError),
    ],
)
def test_a_full_temporary_folder_and_memory_are_no_damage(path, monkeypatch, error, kind):
    def fails(reading, progress):
        raise error

    monkeypatch.setattr("colbert_rag.verifying.report.word_problems", fails)
    with pytest.raises(kind) as caught:
        verify_folder(path)
    assert kind is MemoryError or str(path / "catalog.sqlite") in str(caught.value)


def test_numbers_that_ask_for_more_memory_than_there_can_be_are_damage(path):
    """SQLite says of them that there is no memory."""
    with closing(sqlite3.connect(path / "catalog.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        pages = connection.execute("SELECT id, CAST(block AS BLOB) FROM fulltext_data WHERE id > 10").fetchall()
        number, block = next((number, bytearray(block)) for number, block in pages if b"alpha" in block)
        # behind "alpha0" and the key of its first document: how long the list of its places is
        at = block.find(b"alpha") + len("alpha") + 2
        block[at : at + 5] = b"\x87\xff\xff\xff\x7e"
        connection.execute("UPDATE fulltext_data SET block = ? WHERE id = ?", (bytes(block), number))
    assert problems(path) != ()
    with Index.open(path, small_index.encoder()) as index:
        for mode in ("bm25", "hybrid"):
            with pytest.raises(CorruptIndexError, match="colbert-rag verify"):
                index.search("alpha0", mode=mode)


def compact(path):
    with Index.open(path, small_index.encoder()) as index:
        index.compact()


def test_files_that_a_writer_removes_during_a_look_are_read_all_the_same(path):
    """The folders of the commit are gone before the first file was read to its end."""
    stages = []

    def progress(stage, done, total):
        if not stages:
            compact(path)
        stages.append(stage)

    before = len(arrays(path))
    report = verify_folder(path, progress)
    assert (report.problems, report.documents, report.files) == ((), 10, before)
    assert stages.count("verify") == before


def test_files_that_a_writer_removes_before_they_are_opened_are_looked_for_again(path, monkeypatch):
    real, calls = verifying_report.pinned_files, []

    def overtaken(root, state):
        if not calls:
            compact(path)
        calls.append(state.commits)
        return real(root, state)

    monkeypatch.setattr(verifying_report, "pinned_files", overtaken)
    report = verify_folder(path)
    assert (report.problems, report.documents) == ((), 10)
    assert len(calls) == 2


def widen(path):
    """Leave free pages in a catalog."""
    tamper(path, "CREATE TABLE large AS SELECT zeroblob(500000)", is_resigned=False)
    tamper(path, "DROP TABLE large", is_resigned=False)


def vacuum(path):
    """What another user may do to a catalog that nobody has open: no commit, and other pages."""
    tamper(path, "VACUUM", is_resigned=False)


class TestWithoutALock:
    """Who may not write reads a catalog that nobody has open without a lock, and somebody may come."""

    @pytest.fixture(autouse=True)
    def forbidden(self, path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda path, mode: False)

    def test_what_another_user_changed_without_a_commit_is_looked_at_again(self, path, monkeypatch):
        real, calls = verifying_report.document_problems, []

        def overtaken(reading):
            if not calls:
                vacuum(path)
                yield "torn"
            calls.append(reading)
            yield from real(reading)

        monkeypatch.setattr(verifying_report, "document_problems", overtaken)
        report = verify_folder(path)
        assert (report.problems, report.documents) == ((), 10)
        assert len(calls) == 2

    def test_pages_that_another_user_moves_meanwhile_are_no_damage(self, path, monkeypatch):
        real, calls = verifying_report.page_problems, []

        def overtaken(connection, root):
            if not calls:
                vacuum(path)
            calls.append(list(real(connection, root)))
            return calls[-1]

        monkeypatch.setattr(verifying_report, "page_problems", overtaken)
        widen(path)
        report = verify_folder(path)
        assert (report.problems, report.documents) == ((), 10)
        assert [bool(found) for found in calls] == [True, False]

    @pytest.mark.parametrize("error", [StorageError("no file"), IndexLockedError("held")])
    def test_an_error_that_a_writer_may_have_caused_is_no_answer(self, path, monkeypatch, error):
        real, calls = verifying_report.check_log, []

        def overtaken(log):
            calls.append(log)
            if len(calls) == 1:
                vacuum(path)
                raise error
            return real(log)

        monkeypatch.setattr(verifying_report, "check_log", overtaken)
        assert verify_folder(path).ok
        assert len(calls) == 2

    def test_damage_that_no_writer_explains_is_looked_at_once(self, path, monkeypatch):
        real, calls = verifying_report.document_problems, []
        monkeypatch.setattr(verifying_report, "document_problems", lambda r: calls.append(r) or real(r))
        tamper(path, "UPDATE content SET text = 'other' WHERE key = 2", is_resigned=False)
        assert len(verify_folder(path).problems) == 1
        assert len(calls) == 1

    def test_a_writer_who_never_pauses_is_named_and_not_damage(self, path, monkeypatch):
        def overtaken(reading):
            vacuum(path)
            yield "torn"

        monkeypatch.setattr(verifying_report, "document_problems", overtaken)
        with pytest.raises(IndexLockedError, match="Repeat when it pauses") as caught:
            verify_folder(path)
        assert str(path) in str(caught.value)


def test_a_writer_that_is_always_faster_is_named_and_not_damage(path, monkeypatch):
    commits = count()
    monkeypatch.setattr(verifying_report, "_commits", lambda root: next(commits) + 10**6)
    shutil.rmtree(next(p for p in path.iterdir() if p.name.startswith("segment-")))
    with pytest.raises(IndexLockedError, match="merges faster"):
        verify_folder(path)
