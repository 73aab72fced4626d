"""What is sound in a damaged index comes back, and what is lost is said."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
from contextlib import closing
from functools import cache

import pytest
from hostile_index import HostileIndex
from index_bytes import index_bytes

from colbert_rag import (
    ColbertRagError,
    CorruptIndexError,
    Document,
    Index,
    IndexExistsError,
    IndexNotFoundError,
    ModelMismatchError,
    ModelNotFoundError,
    StorageError,
    restore_index,
)
from colbert_rag.storage.copying import copy_file
from colbert_rag.storage.system_errors import UnreadableError
from colbert_rag.testing import HashEncoder

PAGE_BYTES = 16_384
N = 60
DELETED = {"d07", "d41"}
# three documents fill a page of the catalog
FILLER = f"{'x' * 99} " * 47


class CachingEncoder(HashEncoder):
    """Of few words, each drawn once."""

    @cache  # noqa: B019
    def _vector(self, word):
        return super()._vector(word)


ENCODER = CachingEncoder(dim=8)
QUERIES = ("n3 river", "n58 amber", "zephyr meadow")


def document(n):
    heading = "Title" if n % 3 == 0 else ""
    ref_id = f"book{n % 5}" if n % 2 else None
    text = f"n{n} river amber. {FILLER} end {n}."
    return Document(f"d{n:02}", text, {"n": n, "tags": ["a"]}, heading=heading, ref_id=ref_id, extra={"page": n})


DOCUMENTS = [document(n) for n in range(N)]
LIVE = {d.id: d for d in DOCUMENTS if d.id not in DELETED}


def build(path, kind):
    options = {"exact_tokens": 1000, "probe_tokens": 20_000} if kind == "compressed" else {"exact_tokens": 10**9}
    with Index.create(path, ENCODER, **options) as index:
        for start in range(0, N, 20):
            index.add(DOCUMENTS[start : start + 20])
        index.delete(DELETED)
        if kind == "log":
            # a crash leaves the commits in the log, the last close folds them into the catalog
            return shutil.copytree(path, path.with_name("crashed"), ignore=shutil.ignore_patterns("*-shm"))
    return path


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    return {kind: build(folder / kind, kind) for kind in ("exact", "compressed", "log")}


@pytest.fixture(params=["exact", "compressed"])
def damaged(request, originals, fast_folder):
    """A closed index to be damaged."""
    return shutil.copytree(originals[request.param], fast_folder / "damaged")


def segments(path):
    """Segment folders by the first id that they hold."""
    return sorted(path.glob("segment-*"), key=lambda folder: (folder / "doc_keys.npy").read_bytes()[128:])


def flip(path, offset=-1):
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def overwrite_page(path, number):
    """Garbage in the place of a page of the catalog; pages count from 1."""
    with (path / "catalog.sqlite").open("r+b") as file:
        file.seek((number - 1) * PAGE_BYTES)
        file.write(random.Random(number).randbytes(PAGE_BYTES))


def root_page(path, name):
    with closing(sqlite3.connect(path / "catalog.sqlite")) as connection:
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,))
    return page


def pages_with(path, text):
    data = (path / "catalog.sqlite").read_bytes()
    return [n // PAGE_BYTES + 1 for n in range(0, len(data), PAGE_BYTES) if text in data[n : n + PAGE_BYTES]]


def restored(damaged, **options):
    """Restore beside; the source must not change, and the outcome must be sound."""
    before = index_bytes(damaged)
    target = damaged.with_name("restored")
    report = restore_index(damaged, target, options.pop("encoder", ENCODER), **options)
    assert index_bytes(damaged) == before
    assert report.path == str(target)
    with Index.open(target, ENCODER) as index:
        assert index.verify().problems == ()
        found = {d.id: d for d in index.find()}
        assert found == {i: LIVE[i] for i in found}
        assert report.kept + report.encoded == len(found)
        assert set(report.lost) == LIVE.keys() - found.keys()
        assert (report.n_lost, report.uncounted) == (len(report.lost), ())
        for query in QUERIES:
            assert {hit.id for hit in index.search(query, N)} == found.keys()
            assert {hit.id for hit in index.search(query, N, mode="bm25")} <= found.keys()
        index.add([Document("new", "a walrus")])
        index.compact()
        assert index.verify().problems == ()
    return report


def test_a_sound_index_comes_back_whole(damaged, originals):
    report = restored(damaged)
    assert (report.kept, report.encoded, report.lost, report.problems) == (len(LIVE), 0, (), ())


def test_documents_that_are_kept_have_the_scores_that_they_had(damaged):
    restore_index(damaged, damaged.with_name("restored"), ENCODER)
    with Index.open(damaged, ENCODER) as old, Index.open(damaged.with_name("restored"), ENCODER) as new:
        for query in QUERIES:
            assert new.search(query, 9) == old.search(query, 9)


@pytest.mark.parametrize("damage", ["flipped", "short", "missing", "replaced by a link", "folder missing"])
def test_documents_of_a_damaged_segment_are_encoded_anew(damaged, fast_folder, damage):
    folder = segments(damaged)[0]
    n_documents = ((folder / "doc_keys.npy").stat().st_size - 128) // 8
    path = sorted(folder.glob("*.npy"))[-2]
    if damage == "flipped":
        flip(path)
    elif damage == "short":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "folder missing":
        shutil.rmtree(folder)
    else:
        content = path.read_bytes()
        path.unlink()
        if damage == "replaced by a link":
            (fast_folder / "elsewhere").write_bytes(content)
            path.symlink_to(fast_folder / "elsewhere")
    report = restored(damaged)
    assert report.encoded == n_documents - len(DELETED & {d.id for d in DOCUMENTS[:n_documents]})
    assert report.lost == ()
    [problem] = report.problems
    assert folder.name in problem


def test_documents_of_a_segment_of_holes_are_encoded_anew_and_no_hole_is_copied(damaged, monkeypatch):
    hostile = HostileIndex(damaged, damaged.parent)
    hollow, size = hostile.segment, 128 << 20
    n_documents = len(hostile.array("doc_keys", "int64"))
    hostile.hollow("spans", size)
    if (hollow / "spans.npy").stat().st_blocks * 512 >= 1 << 20:
        pytest.skip("this file system has no holes")
    copied = []
    monkeypatch.setattr("colbert_rag.restoring.copy_file", lambda *files: copied.append(files[1]) or copy_file(*files))
    steps = []
    report = restore_index(damaged, damaged.with_name("restored"), ENCODER, progress=lambda *step: steps.append(step))
    assert {path.parent.name for path in copied} == {path.name for path in damaged.glob("*-*") if path != hollow}
    assert [done for stage, done, _ in steps if stage == "copy"][-1] > size
    assert (report.kept + report.encoded, report.lost) == (len(LIVE), ())
    assert 0 < report.encoded <= n_documents
    [problem] = report.problems
    assert re.search(rf"{hollow.name}: .* of them on the disk; the largest is spans\.npy", problem)


def test_a_folder_that_the_disk_does_not_give_is_damage_like_any_other(damaged, monkeypatch):
    first = segments(damaged)[0]

    def fails(folder, records):
        if folder == first:
            raise UnreadableError(f"{folder}: cannot be read (Input/output error)")

    monkeypatch.setattr("colbert_rag.restoring.check_recorded", fails)
    report = restored(damaged)
    assert (report.encoded > 0, report.lost) == (True, ())
    assert report.problems == (f"{first}: cannot be read (Input/output error)",)


def test_without_its_codec_every_document_of_a_compressed_index_is_encoded_anew(originals, fast_folder):
    damaged = shutil.copytree(originals["compressed"], fast_folder / "damaged")
    flip(next(damaged.glob("codec-*/rotation.npy")))
    report = restored(damaged)
    assert (report.kept, report.encoded, report.lost) == (0, len(LIVE), ())
    assert any("rotation.npy" in problem for problem in report.problems)


def test_an_overwritten_page_of_texts_loses_its_documents_by_name_and_no_other(damaged):
    [page] = pages_with(damaged, b"n30 river amber")[:1]
    overwrite_page(damaged, page)
    report = restored(damaged)
    assert "d30" in report.lost
    assert 1 <= len(report.lost) <= 4
    assert report.encoded == 0
    assert report.problems == ("catalog.sqlite: content: database disk image is malformed",)


def test_two_overwritten_pages_of_texts_lose_only_what_lay_on_them(damaged):
    for text in (b"n20 river amber", b"n45 river amber"):
        overwrite_page(damaged, pages_with(damaged, text)[0])
    report = restored(damaged)
    assert {"d20", "d45"} <= set(report.lost)
    assert len(report.lost) <= 8
    assert not {"d10", "d33", "d55"} & set(report.lost)


def test_a_changed_byte_of_a_text_loses_that_document_alone(damaged):
    path = damaged / "catalog.sqlite"
    data = path.read_bytes()
    assert data.count(b"n30 river amber") == 1
    path.write_bytes(data.replace(b"n30 river amber", b"n30 rixer amber"))
    assert restored(damaged).lost == ("d30",)


NO_TEXT = {"no UTF-8": "CAST(x'ff' || id AS TEXT)", "half a character": "CAST(x'eda080' || id AS TEXT)"}


@pytest.mark.parametrize("kind", NO_TEXT)
@pytest.mark.parametrize("column", ["heading", "text", "metadata", "extra"])
def test_documents_that_hold_what_is_no_text_are_lost_whatever_their_checksum_says(damaged, kind, column):
    value = NO_TEXT[kind].replace("id", column)
    HostileIndex(damaged, damaged.parent).sql(f"UPDATE content SET {column} = {value} WHERE key IN (31, 33)")
    assert restored(damaged).lost == ("d30", "d32")


@pytest.mark.parametrize("kind", NO_TEXT)
def test_documents_whose_ids_are_no_text_are_counted(damaged, kind):
    HostileIndex(damaged, damaged.parent).sql(f"UPDATE documents SET id = {NO_TEXT[kind]} WHERE key IN (31, 33)")
    report = restore_index(damaged, damaged.with_name("restored"), ENCODER)
    assert (report.kept, report.lost, report.n_lost) == (len(LIVE) - 2, (), 2)


def test_documents_whose_ids_are_of_several_types_are_counted(damaged):
    ids = "CASE key WHEN 31 THEN 5 WHEN 33 THEN CAST(id AS BLOB) ELSE id END"
    HostileIndex(damaged, damaged.parent).loosely("documents", f"UPDATE documents SET id = {ids}")
    report = restore_index(damaged, damaged.with_name("restored"), ENCODER)
    assert (report.kept, report.lost, report.n_lost) == (len(LIVE) - 2, (), 2)


@pytest.mark.parametrize("name", ["documents", "sqlite_autoindex_documents_1", "documents_by_ref"])
def test_ids_and_sources_are_kept_twice_and_either_copy_is_enough(damaged, name):
    overwrite_page(damaged, root_page(damaged, name))
    report = restored(damaged)
    assert (report.kept, report.lost) == (len(LIVE), ())


def test_documents_without_any_id_are_counted(damaged):
    for name in ("documents", "sqlite_autoindex_documents_1"):
        overwrite_page(damaged, root_page(damaged, name))
    report = restore_index(damaged, damaged.with_name("restored"), ENCODER)
    assert (report.kept, report.encoded, report.lost, report.n_lost) == (0, 0, (), len(LIVE))


@pytest.mark.parametrize("name", ["attributes", "fulltext_data", "fulltext_idx", "fulltext_config"])
def test_what_follows_from_the_documents_is_made_anew(damaged, name):
    overwrite_page(damaged, root_page(damaged, name))
    report = restored(damaged)
    assert (report.kept, report.lost) == (len(LIVE), ())
    with Index.open(damaged.with_name("restored"), ENCODER) as index:
        assert index.search("n30", 1, mode="bm25")[0].id == "d30"
        assert [d.id for d in index.find({"n": 30})] == ["d30"]


def test_without_tombstones_deleted_documents_stay_deleted(damaged):
    overwrite_page(damaged, root_page(damaged, "tombstones"))
    target = damaged.with_name("restored")
    report = restore_index(damaged, target, ENCODER)
    assert (report.kept, report.lost, report.n_lost) == (len(LIVE), (), len(DELETED))
    assert any("may be counted as lost" in problem for problem in report.problems)
    with Index.open(target, ENCODER) as index:
        assert set(index.ids()) == LIVE.keys()
        assert index.verify().problems == ()


def test_without_segment_records_every_document_is_encoded_anew(damaged):
    overwrite_page(damaged, root_page(damaged, "segments"))
    report = restored(damaged)
    assert (report.kept, report.encoded, report.lost) == (0, len(LIVE), ())


def test_without_settings_a_model_must_be_named(damaged):
    overwrite_page(damaged, root_page(damaged, "state"))
    with pytest.raises(CorruptIndexError, match=r"settings .* cannot be read.*--model"):
        restore_index(damaged, damaged.with_name("restored"))
    assert not damaged.with_name("restored").exists()
    report = restored(damaged)
    assert (report.kept, report.encoded, report.lost) == (0, len(LIVE), ())
    assert any("settings" in problem for problem in report.problems)


def test_changed_settings_are_not_believed(damaged):
    with closing(sqlite3.connect(damaged / "catalog.sqlite", isolation_level=None)) as connection:
        connection.execute("UPDATE state SET settings = replace(settings, '\"hash_seed\":0', '\"hash_seed\":1')")
    with pytest.raises(CorruptIndexError, match="settings"):
        restore_index(damaged, damaged.with_name("restored"))
    assert restored(damaged).encoded == len(LIVE)


@pytest.mark.parametrize("damage", ["garbage", "empty", "missing", "a text"])
def test_without_the_first_page_there_is_nothing_to_be_found_and_that_is_said(damaged, damage):
    path = damaged / "catalog.sqlite"
    if damage == "garbage":
        overwrite_page(damaged, 1)
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "empty" else b"hello " * 20_000)
    with pytest.raises((CorruptIndexError, IndexNotFoundError), match=r"Restore a backup|not of colbert_rag"):
        restore_index(damaged, damaged.with_name("restored"), ENCODER)
    assert [p.name for p in damaged.parent.iterdir()] == ["damaged"]


def test_an_index_of_vectors_loses_the_documents_of_a_damaged_segment_by_name(fast_folder):
    vectors = ENCODER.encode_documents([d.text for d in DOCUMENTS])
    with Index.create(fast_folder / "damaged", dim=8) as index:
        index.add_vectors(list(zip(DOCUMENTS, vectors, strict=True))[:20])
        index.add_vectors(list(zip(DOCUMENTS, vectors, strict=True))[20:])
    flip(segments(fast_folder / "damaged")[0] / "vectors.npy")
    report = restore_index(fast_folder / "damaged", fast_folder / "restored")
    assert (report.kept, report.encoded) == (N - 20, 0)
    assert report.lost == tuple(d.id for d in DOCUMENTS[:20])
    assert any("vectors only" in problem for problem in report.problems)
    with Index.open(fast_folder / "restored") as index:
        assert index.verify().problems == ()
        assert list(index.ids()) == [d.id for d in DOCUMENTS[20:]]


def test_the_log_that_a_killed_writer_left_is_read_and_kept(originals, fast_folder):
    damaged = shutil.copytree(originals["exact"], fast_folder / "damaged")
    child = os.fork()
    if child == 0:
        index = Index.open(damaged, ENCODER)
        index.upsert([Document("d30", "the new text")])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    log = damaged / "catalog.sqlite-wal"
    assert log.stat().st_size > 0
    before = log.read_bytes()
    report = restore_index(damaged, fast_folder / "restored", ENCODER)
    assert log.read_bytes() == before
    assert report.kept == len(LIVE)
    with Index.open(fast_folder / "restored", ENCODER) as index:
        assert index.get("d30").text == "the new text"


LOG_DAMAGE = {
    "a byte of the header": (0, 1, "the header is damaged, with it .* commits are lost; .* cannot be counted"),
    "the header": (0, 32, "a header that is not whole: .* lost with its documents"),
    "the first frame": (32 + 24 + 500, 1, "frame 1 of .* commits that follow it are lost; .* cannot be counted"),
    "the last commit": (-500, 1, "frames after the last commit: .* lost with its documents"),
}


@pytest.mark.parametrize("damage", LOG_DAMAGE)
def test_commits_that_are_lost_with_a_damaged_log_are_never_reported_as_nothing_lost(originals, fast_folder, damage):
    damaged = shutil.copytree(originals["log"], fast_folder / "damaged")
    start, length, words = LOG_DAMAGE[damage]
    for offset in range(start, start + length):
        flip(damaged / "catalog.sqlite-wal", offset)
    before = index_bytes(damaged)
    report = restore_index(damaged, fast_folder / "restored", ENCODER)
    assert index_bytes(damaged) == before
    [line] = report.uncounted
    assert re.search(words, line)
    with Index.open(fast_folder / "restored", ENCODER) as index:
        assert len(index) == report.kept + report.encoded


def test_a_sound_log_of_a_crashed_writer_loses_nothing(originals, fast_folder):
    report = restored(shutil.copytree(originals["log"], fast_folder / "damaged"))
    assert (report.kept, report.problems) == (len(LIVE), ())


@pytest.mark.parametrize("pages_lost", [1, 10])
def test_a_catalog_that_lost_pages_at_its_end_gives_what_stood_on_the_others(damaged, pages_lost):
    path = damaged / "catalog.sqlite"
    os.truncate(path, path.stat().st_size - pages_lost * PAGE_BYTES)
    left = path.read_bytes()
    report = restored(damaged)
    assert report.lost == tuple(i for i, d in LIVE.items() if d.text.encode() not in left)
    assert report.encoded == 0


def test_where_neither_settings_nor_documents_are_found_no_empty_index_is_made(damaged):
    os.truncate(damaged / "catalog.sqlite", PAGE_BYTES)
    with pytest.raises(CorruptIndexError, match="neither settings nor any document"):
        restore_index(damaged, damaged.with_name("restored"), ENCODER)
    assert [p.name for p in damaged.parent.iterdir()] == ["damaged"]


def test_a_new_index_that_is_not_what_was_written_is_not_kept(damaged):
    def progress(stage, done, total):
        if stage == "restore" and done == total:
            flip(next(damaged.parent.glob("restored.unfinished-*/segment-*/doc_keys.npy")))

    with pytest.raises(CorruptIndexError, match=r"nothing was kept: .*doc_keys\.npy.* choose another place"):
        restore_index(damaged, damaged.with_name("restored"), ENCODER, progress=progress)
    assert [p.name for p in damaged.parent.iterdir()] == ["damaged"]


def test_another_model_is_refused(damaged):
    with pytest.raises(ModelMismatchError, match="hash_seed: index 0, encoder 5"):
        restore_index(damaged, damaged.with_name("restored"), HashEncoder(dim=8, seed=5))


def test_a_model_is_asked_for_only_where_something_must_be_encoded(damaged):
    restore_index(damaged, damaged.with_name("whole"))
    flip(next(segments(damaged)[0].glob("doc_keys.npy")))
    with pytest.raises(ModelNotFoundError):
        restore_index(damaged, damaged.with_name("restored"))
    assert sorted(p.name for p in damaged.parent.iterdir()) == ["damaged", "whole"]


def test_nothing_is_overwritten_and_nothing_is_repaired_in_place(damaged):
    for inside in (damaged, damaged / "restored"):
        with pytest.raises(IndexExistsError, match="inside the index"):
            restore_index(damaged, inside)
    damaged.with_name("restored").touch()
    with pytest.raises(IndexExistsError, match="exists already"):
        restore_index(damaged, damaged.with_name("restored"))


def test_progress_is_told_to_its_end(damaged):
    flip(segments(damaged)[0] / "spans.npy")
    calls = {}
    restore_index(
        damaged,
        damaged.with_name("restored"),
        ENCODER,
        progress=lambda stage, done, total: calls.update({stage: (done, total)}),
    )
    assert calls.keys() >= {"copy", "restore", "encode", "verify"}
    assert all(total in (done, None) for done, total in calls.values())


def test_any_damage_gives_a_sound_index_or_a_typed_error(originals, fast_folder, figures):
    """Bytes flipped and blocks overwritten anywhere, several at once."""
    rng = random.Random(figures.seed)
    for number in range(figures.size(20, 2_000)):
        damaged = shutil.copytree(originals[rng.choice(sorted(originals))], fast_folder / "damaged")
        files = sorted(p for p in damaged.rglob("*") if p.is_file())
        for _ in range(rng.randint(1, 5)):
            # the catalog is one file among many, but the most interesting one
            path = rng.choice(list(damaged.glob("catalog.*")) if rng.random() < 0.7 else files)
            data = bytearray(path.read_bytes())
            start = rng.randrange(len(data))
            length = rng.choice([1, 1, 100, 5_000])
            data[start : start + length] = rng.randbytes(len(data[start : start + length]))
            path.write_bytes(data)
        target = fast_folder / f"restored{number}"
        try:
            report = restore_index(damaged, target, ENCODER)
        except ColbertRagError:
            assert not target.exists()
        else:
            with Index.open(target, ENCODER, read_only=True) as index:
                found = {d.id: d for d in index.find()}
                assert index.verify().problems == ()
            # where the log is damaged, the commit that deleted some may be lost
            assert found == {d.id: d for d in DOCUMENTS if d.id in found}
            assert report.uncounted or found.keys() <= LIVE.keys()
            assert report.kept + report.encoded == len(found)
            assert report.uncounted or report.n_lost >= len(LIVE) - len(found)
            shutil.rmtree(target)
        shutil.rmtree(damaged)
        figures.add("damaged indexes restored")


def test_a_disk_that_loses_what_was_just_written_is_named_and_nothing_is_kept(damaged, tmp_path):
    """Damage and such a disk look the same to SQLite, and the old index is not to blame."""

    def lose(stage, *_):
        if stage == "copy":
            (catalog,) = tmp_path.glob("new.unfinished-*/catalog.sqlite")
            with catalog.open("r+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(PAGE_BYTES)
                file.write(bytes(size - PAGE_BYTES))

    with pytest.raises(StorageError, match=r"new: .* cannot be read back .* choose another place") as caught:
        restore_index(damaged, tmp_path / "new", ENCODER, progress=lose)
    assert "verify" not in str(caught.value)
    assert not list(tmp_path.glob("new*"))
