from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from colbert_rag.errors import CorpusFormatError
from colbert_rag.readers.decoding import read_lines, read_text


def test_a_byte_order_mark_is_no_text(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfgr\xc3\xbcn\n")
    assert read_text(path) == "grün\n"
    assert list(read_lines(path)) == [(1, "grün\n")]


@pytest.mark.parametrize("data", [b"\xef\xbb\xbfone\ntwo\nthr\xe9e\n", b"\xef\xbb\xbfon\xe9\n", b"on\xe9"])
def test_the_offset_of_the_first_wrong_byte_counts_from_the_start_of_the_file(tmp_path: Path, data: bytes):
    path = tmp_path / "latin1.txt"
    path.write_bytes(data)
    expected = f"byte 0xe9 at byte offset {data.index(0xE9)}"
    with pytest.raises(CorpusFormatError, match=expected) as whole:
        read_text(path)
    with pytest.raises(CorpusFormatError, match=expected):
        list(read_lines(path))
    assert str(path) in str(whole.value)


def test_compressed_and_plain_lines_are_the_same(tmp_path: Path):
    data = "erste\nzweite ✓\nohne Ende".encode()
    (tmp_path / "a.jsonl").write_bytes(data)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(data))
    assert list(read_lines(tmp_path / "a.jsonl")) == list(read_lines(tmp_path / "a.jsonl.gz"))


@pytest.mark.parametrize("cut", [slice(0, 12), slice(0, -4), slice(3, None)])
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, cut: slice):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": "a", "text": "some text that is long enough"}\n')[cut])
    with pytest.raises(CorpusFormatError, match="not a complete gzip file"):
        list(read_lines(path))
