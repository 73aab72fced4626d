from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3

import pytest

from colbert_rag import ColbertRagError, CorruptIndexError, Document, Index
from colbert_rag.storage.rows import content_checksum
from colbert_rag.testing import HashEncoder

TEXTS = [f"word{n} alpha{n % 7} and something longer{n} to be found" for n in range(12)]


@pytest.fixture(scope="module", params=["plain", "compressed"])
def original(request, tmp_path_factory):
    """Folder of a closed index with two segments and a deleted document."""
    path = tmp_path_factory.mktemp(request.param) / "index"
    with Index.create(path, HashEncoder(16), exact_tokens=0 if request.param == "compressed" else 10**9) as index:
        index.add(Document(f"d{n}", text, {"n": n}) for n, text in enumerate(TEXTS[:8]))
        index.add(Document(f"d{n}", text, {"n": n}) for n, text in enumerate(TEXTS[8:], start=8))
        index.delete(["d3"])
    return path


@pytest.fixture
def path(original, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(original, tmp_path / "index")


def verify(path):
    with Index.open(path, HashEncoder(16)) as index:
        return index.verify()


def arrays(path):
    """Every array file of an index: its path inside the folder."""
    return sorted(str(p.relative_to(path)) for p in path.rglob("*.npy"))


def tamper(path, sql, *values):
    connection = sqlite3.connect(path / "catalog.sqlite", isolation_level=None)
    connection.execute(sql, values)
    connection.close()


def test_info_counts_what_is_in_the_folder(path):
    with Index.open(path, HashEncoder(16)) as index:
        info = index.info()
    is_compressed = any(p.name.startswith("codec-") for p in path.iterdir())
    lengths = [len(text.split()) for n, text in enumerate(TEXTS) if n != 3]
    assert (info.n_documents, info.n_deleted, info.n_segments, info.n_tokens) == (11, 1, 2, sum(lengths))
    assert info.vector_bytes == sum(p.stat().st_size for p in path.rglob("*.npy"))
    assert info.text_bytes == sum(len(text) for n, text in enumerate(TEXTS) if n != 3)
    assert (info.dim, info.bits, info.is_compressed, info.path) == (16, 4, is_compressed, str(path))
    assert (info.n_centroids > 0, info.codec_tokens > 0) == (is_compressed, is_compressed)
    overhead = info.vector_bytes + info.catalog_bytes - info.text_bytes
    assert info.bytes_per_token == pytest.approx(overhead / info.n_tokens, abs=0.01)
    assert info.model == {"model": None, "dim": 16, "hash_seed": 0}


def test_info_of_an_empty_index_has_no_bytes_per_token(tmp_path):
    with Index.create(tmp_path / "empty", dim=4) as index:
        info = index.info()
    assert (info.n_documents, info.n_tokens, info.n_segments, info.bytes_per_token) == (0, 0, 0, 0.0)


def test_a_sound_index_has_no_problems_and_all_of_it_was_read(path):
    calls = []
    with Index.open(path, HashEncoder(16)) as index:
        report = index.verify(progress=lambda *call: calls.append(call))
    assert report.ok
    assert (report.files, report.documents) == (len(arrays(path)), 11)
    assert report.bytes == sum(p.stat().st_size for p in path.rglob("*.npy"))
    assert calls[-1] == ("verify", report.bytes, report.bytes)


def test_every_changed_byte_of_every_array_is_found(path):
    """One byte of each file at its start, its end and between."""
    for name in arrays(path):
        file = path / name
        content = file.read_bytes()
        for place in (0, 9, 127, (128 + len(content)) // 2 if len(content) > 128 else 64, len(content) - 1):
            damaged = bytearray(content)
            damaged[place] ^= 1
            file.write_bytes(damaged)
            assert verify(path).problems == (f"{name}: content differs from what was committed (sha256)",)
        file.write_bytes(content)
    assert verify(path).ok


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b""])
def test_another_size_is_found_with_both_sizes(path, change):
    for name in arrays(path):
        content = (path / name).read_bytes()
        (path / name).write_bytes(change(content))
        line = f"{name}: {len(change(content)):,} bytes on disk, {len(content):,} committed"
        assert verify(path).problems == (line,)
        (path / name).write_bytes(content)


def test_missing_files_links_and_folders_are_found(path):
    names = arrays(path)[:3]
    (path / names[0]).unlink()
    (path / names[1]).rename(path.parent / "moved.npy")
    (path / names[1]).symlink_to(path.parent / "moved.npy")
    (path / names[2]).unlink()
    (path / names[2]).mkdir()
    problems = verify(path).problems
    assert any(line.startswith(f"{names[0]}: cannot be read") for line in problems)
    assert f"{names[1]}: not a regular file" in problems
    assert f"{names[2]}: not a regular file" in problems


def test_a_file_in_place_of_a_segment_folder_is_found(path):
    folder = next(p for p in sorted(path.iterdir()) if p.name.startswith("segment-"))
    shutil.rmtree(folder)
    folder.touch()
    problems = verify(path).problems
    assert problems
    assert all(line.startswith(folder.name) and "cannot be read" in line for line in problems)


def test_files_that_nobody_named_are_found(path):
    folder = next(p for p in path.iterdir() if p.is_dir())
    (folder / "extra.npy").touch()
    (path / "notes.txt").touch()
    problems = verify(path).problems
    assert f"{folder.name}/extra.npy: not named by the catalog" in problems
    assert "notes.txt: not part of the index; remove it" in problems
    assert len(problems) == 2


def test_a_folder_of_an_unfinished_write_is_no_damage(path):
    (path / "segment-stray").mkdir()
    report = verify(path)
    assert report.ok
    assert report.leftovers == ("segment-stray",)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE content SET text = text || '!' WHERE key = 2",
        "UPDATE content SET metadata = '{}' WHERE key = 2",
        "UPDATE content SET checksum = checksum + 1 WHERE key = 2",
        "UPDATE content SET heading = 'other' WHERE key = 2",
        "UPDATE content SET extra = '1' WHERE key = 2",
        "UPDATE documents SET id = 'other' WHERE key = 2",
        "UPDATE documents SET ref_id = 'other' WHERE key = 2",
    ],
)
def test_a_changed_record_is_found(path, sql):
    tamper(path, sql)
    [line] = verify(path).problems
    assert "what is stored differs from what was committed (crc32)" in line


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE attributes SET value = value + 1 WHERE key = 2", "document 'd1': what it is filtered by"),
        ("DELETE FROM attributes WHERE key = 2", "document 'd1': what it is filtered by"),
        ("INSERT INTO attributes VALUES ('more', 1, 2)", "1 attributes to filter by belong to no document's metadata"),
        ("INSERT INTO attributes VALUES ('more', 1, 999)", "1 attributes to filter by belong to no"),
    ],
)
def test_attributes_that_do_not_agree_with_the_metadata_are_found(path, sql, words):
    tamper(path, sql)
    [line] = verify(path).problems
    assert words in line


def test_metadata_that_is_not_json_is_found_though_its_checksum_fits(path):
    checksum = content_checksum("d1", None, "", TEXTS[1], "{", None)
    tamper(path, "UPDATE content SET metadata = '{', checksum = ? WHERE key = 2", checksum)
    [line] = verify(path).problems
    assert "catalog.sqlite: document 'd1': the stored metadata is not JSON" in line


def test_every_page_of_the_catalog_that_is_overwritten_is_found(path):
    file = path / "catalog.sqlite"
    content = file.read_bytes()
    size = 16_384
    assert len(content) > 5 * size
    for start in range(0, len(content), size):
        file.write_bytes(content[:start] + b"\xff" * size + content[start + size :])
        try:
            problems = verify(path).problems
        except ColbertRagError as err:
            problems = (str(err),)
        assert problems, f"page {start // size + 1}"


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("DELETE FROM content WHERE key = 2", "key 2 is in documents but not in content"),
        ("DELETE FROM documents WHERE key = 2", "key 2 is in content but not in documents"),
        (
            "UPDATE documents SET n_tokens = 99 WHERE key = 2",
            "document 'd1': its vectors are missing or are not 99 tokens",
        ),
        ("DELETE FROM tombstones", "1 documents have vectors but no record"),
        ("INSERT INTO tombstones VALUES (2)", "document 'd1': its vectors are missing"),
    ],
)
def test_records_that_do_not_fit_together_are_found(path, sql, words):
    tamper(path, sql)
    assert any(words in line for line in verify(path).problems)


def test_a_segment_that_is_no_longer_named_is_found(path):
    tamper(path, "DELETE FROM segments WHERE name = (SELECT MAX(name) FROM segments)")
    report = verify(path)
    assert not report.ok
    assert len(report.leftovers) == 1


def test_hashes_cannot_be_made_to_fit_a_file_with_numbers_out_of_range(path):
    """Somebody who writes the catalog too is caught by the range checks."""
    connection = sqlite3.connect(path / "catalog.sqlite", isolation_level=None)
    name, text = connection.execute("SELECT name, record FROM segments ORDER BY name").fetchone()
    record = json.loads(text)
    file = path / name / "doc_offsets.npy"
    content = bytearray(file.read_bytes())
    content[-1] = 1
    file.write_bytes(content)
    record["files"]["doc_offsets"]["sha256"] = hashlib.sha256(content).hexdigest()
    connection.execute("UPDATE segments SET record = ? WHERE name = ?", (json.dumps(record), name))
    connection.close()
    [line] = verify(path).problems
    assert "numbers out of range in doc_offsets" in line


def test_verifying_repairs_nothing(path):
    (path / "segment-stray").mkdir()
    first = verify(path)
    assert verify(path) == first
    assert (path / "segment-stray").exists()


def test_searching_vectors_without_a_record_is_an_error_and_not_a_gap(path):
    tamper(path, "DELETE FROM tombstones")
    with (
        Index.open(path, HashEncoder(16)) as index,
        pytest.raises(CorruptIndexError, match="vectors of documents without a record"),
    ):
        index.search("word3", k=12)
