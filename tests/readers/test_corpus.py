from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path

import pytest

from colbert_rag.errors import CorpusFormatError
from colbert_rag.readers import SUPPORTED_SUFFIXES, Corpus, SkippedFile, folder_of
from colbert_rag.types import Document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "handbook"
    (root / "b").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "b" / "second.md").write_text("second")
    (root / "b" / "page.HTML").write_text("<p>third</p>")
    (root / "c.jsonl.gz").write_bytes(gzip.compress(b'{"id": "record", "text": "fourth"}\n'))
    (root / "a.txt").write_text("first")
    (root / "blank.txt").write_text(" \n")
    (root / "photo.jpeg").write_bytes(b"\xff\xd8")
    (root / "Makefile").write_text("all:")
    (root / ".hidden.txt").write_text("hidden")
    (root / ".git" / "config.txt").write_text("hidden")
    return root


def test_a_folder_is_read_in_sorted_order_with_relative_ids(folder: Path):
    documents = list(Corpus([folder]))
    assert [(d.id, d.text) for d in documents] == [
        ("a.txt", "first"),
        ("b/page.HTML", "third"),
        ("b/second.md", "second"),
        ("record", "fourth"),
    ]
    assert documents[2].metadata == {"source": (folder / "b" / "second.md").as_posix()}


def test_files_of_a_folder_that_give_no_document_are_reported(folder: Path):
    corpus = Corpus([folder])
    for _ in range(2):
        list(corpus)
        assert sorted(corpus.skipped, key=lambda skipped: skipped.path) == [
            SkippedFile((folder / "Makefile").as_posix(), "unknown file type (no suffix)"),
            SkippedFile((folder / "blank.txt").as_posix(), "no text in it"),
            SkippedFile((folder / "photo.jpeg").as_posix(), "unknown file type (.jpeg)"),
        ]


def test_a_named_file_has_its_name_as_id(folder: Path):
    path = folder / "b" / "second.md"
    assert list(Corpus([str(path)])) == [Document("second.md", "second", {"source": path.as_posix()})]


@pytest.mark.parametrize(
    ("name", "message"),
    [("photo.jpeg", "unknown file type; expected a name"), ("missing.txt", "no such file or folder")],
)
def test_a_named_path_that_is_no_corpus_is_refused_before_reading(folder: Path, name: str, message: str):
    with pytest.raises(CorpusFormatError, match=message):
        Corpus([folder, folder / name])


def test_the_refusal_of_an_unknown_type_lists_the_known_ones(folder: Path):
    with pytest.raises(CorpusFormatError) as caught:
        Corpus([folder / "photo.jpeg"])
    assert all(suffix in str(caught.value) for suffix in SUPPORTED_SUFFIXES)


def test_a_named_blank_file_is_refused(folder: Path):
    with pytest.raises(CorpusFormatError, match=r"blank\.txt: holds no text"):
        list(Corpus([folder / "blank.txt"]))


def test_files_are_opened_one_at_a_time(folder: Path):
    documents = iter(Corpus([folder]))
    next(documents)
    (folder / "b" / "page.HTML").write_text("<p>changed</p>")
    assert next(documents).text == "changed"


def test_files_of_a_folder_that_cannot_be_read_are_skipped_with_the_reason(folder: Path, monkeypatch):
    (folder / "0.pdf").write_bytes(b"no PDF at all")
    (folder / "b" / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    (folder / "gone.txt").symlink_to(folder / "missing.txt")
    (folder / "z.md").write_text("last")
    monkeypatch.setitem(sys.modules, "bs4", None)
    corpus = Corpus([folder])
    assert [document.id for document in corpus] == ["a.txt", "b/second.md", "record", "z.md"]
    reasons = {Path(file.path).name: file.reason for file in corpus.skipped if file.is_unreadable}
    assert reasons.keys() == {"0.pdf", "latin.txt", "gone.txt", "page.HTML"}
    assert reasons["0.pdf"].startswith("cannot be read as PDF (")
    assert reasons["latin.txt"].startswith("expected UTF-8, found byte 0xfc at byte offset 2; convert it first")
    assert reasons["gone.txt"] == "cannot be read: No such file or directory"
    assert reasons["page.HTML"].endswith("pip install 'late-interaction-rag[html]'")


def test_a_named_file_that_cannot_be_read_is_refused(folder: Path):
    (folder / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(CorpusFormatError, match=r"latin\.txt: expected UTF-8"):
        list(Corpus([folder, folder / "latin.txt"]))


def test_a_file_that_an_index_would_refuse_is_skipped_and_takes_no_other_with_it(folder: Path):
    (folder / ("n" * 250)).mkdir()
    (folder / ("n" * 250) / ("o" * 250)).mkdir()
    (folder / ("n" * 250) / ("o" * 250) / "deep-in-a-folder.txt").write_text("text")
    corpus = Corpus([folder])
    assert len(list(corpus)) == 4
    [refused] = [file for file in corpus.skipped if file.is_unreadable]
    assert refused.reason == "the id has 522 bytes of UTF-8, at most 512 are allowed"


def test_a_subfolder_that_cannot_be_read_is_skipped_and_the_folder_itself_is_refused(folder: Path, monkeypatch):
    scan, locked = os.scandir, folder / "b"

    def scandir(path):
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    corpus = Corpus([folder])
    assert [document.id for document in corpus] == ["a.txt", "record"]
    assert SkippedFile(locked.as_posix(), "this folder cannot be read: Permission denied", True) in corpus.skipped
    with pytest.raises(CorpusFormatError, match="b: this folder cannot be read"):
        Corpus([locked])


def test_a_wrong_record_ends_the_reading_of_a_folder(folder: Path):
    (folder / "c.jsonl").write_text('{"id": "a", "text": "x"}\nbroken\n')
    with pytest.raises(CorpusFormatError, match=r"c\.jsonl:2: .*at column 1; found 'broken'"):
        list(Corpus([folder]))


@pytest.mark.parametrize("name", ["handbook", "./handbook/", "b/../handbook", "link/../handbook"])
def test_a_document_knows_the_folder_that_gave_it_by_one_name(folder: Path, tmp_path: Path, monkeypatch, name: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "b", target_is_directory=True)
    corpus = Corpus([name, folder / "a.txt"])
    assert corpus.folders == {folder.as_posix(): 7}
    found = [(document.id, folder_of(document)) for document in corpus]
    assert ("b/second.md", folder.as_posix()) in found
    assert ("record", None) in found
    assert ("a.txt", None) in found


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_a_link_to_a_folder_above_does_not_loop(folder: Path):
    (folder / "b" / "up").symlink_to(folder, target_is_directory=True)
    assert len(list(Corpus([folder]))) == 4
