from __future__ import annotations

import struct
import zlib
from types import MappingProxyType

import pytest

from colbert_rag.errors import CorruptIndexError
from colbert_rag.storage.rows import content_checksum, content_of, document_of, json_text, keys_checksum, row_checksum
from colbert_rag.types import Document

WHOLE = Document("i", "text", {"a": [1, None]}, heading="head", ref_id="r", extra={"b": "é"})


def test_json_is_stored_compact_and_readable():
    assert json_text({"b": "é", "a": [1, None]}) == '{"b":"é","a":[1,null]}'
    assert json_text(MappingProxyType({"a": MappingProxyType({"b": 1})})) == '{"a":{"b":1}}'


@pytest.mark.parametrize(
    "document", [WHOLE, Document("i", "text"), Document("i", "t", extra=[]), Document("i", "t", extra=0)]
)
def test_a_document_comes_back_from_its_columns(document):
    assert document_of(document.id, document.ref_id, *content_of(document)) == document


def test_every_column_counts_in_the_checksum_and_so_do_the_borders_between_them():
    columns = ("i", "r", "head", "text", "{}", None)
    others = [(*columns[:n], (column or "") + "x", *columns[n + 1 :]) for n, column in enumerate(columns)]
    others += [
        ("i", "r", "headt", "ext", "{}", None),
        ("i", None, "head", "text", "{}", None),
        ("i", "r", "head", "text", "{}", ""),
    ]
    checksums = [content_checksum(*c) for c in (columns, *others)]
    assert len(set(checksums)) == len(checksums)


def test_equal_bytes_of_another_type_or_under_another_key_have_another_checksum():
    values = ["1", b"1", 1, None, "", b"", "None", 1.0]
    assert len({row_checksum(value) for value in values}) == len(values)
    assert row_checksum("a", "b") != row_checksum("ab", "") != row_checksum("", "ab")
    assert row_checksum("a\0t1:b", "c") != row_checksum("a", "b\0t1:c")
    assert content_checksum(1, "i", None, "", "t", "{}", None) != content_checksum(2, "i", None, "", "t", "{}", None)


def test_checksums_are_those_of_the_format_page():
    """Written down byte by byte, so that another reader can compute them."""
    assert row_checksum("é", 12, None, b"x") == zlib.crc32("t2:éi2:12n4:Noneb1:x".encode())
    assert keys_checksum([1, 2**40]) == zlib.crc32(struct.pack("<qq", 1, 2**40))
    assert keys_checksum([]) == 0


def test_text_that_is_no_utf_8_has_the_checksum_of_its_bytes():
    assert row_checksum(b"\xff".decode("utf-8", "surrogateescape")) == zlib.crc32(b"t1:\xff")


@pytest.mark.parametrize(("metadata", "extra"), [("{", None), ("[1]", None), ("{}", "{"), ("3", None)])
def test_what_is_no_json_object_is_corrupt(metadata, extra):
    with pytest.raises(CorruptIndexError, match=r"document 'i'.*metadata"):
        document_of("i", None, "", "text", metadata, extra)
