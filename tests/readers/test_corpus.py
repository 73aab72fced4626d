from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from colbert_rag.errors import CorpusFormatError
from colbert_rag.readers import SUPPORTED_SUFFIXES, Corpus, SkippedFile
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


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_a_link_to_a_folder_above_does_not_loop(folder: Path):
    (folder / "b" / "up").symlink_to(folder, target_is_directory=True)
    assert len(list(Corpus([folder]))) == 4
