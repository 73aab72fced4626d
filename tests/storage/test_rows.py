from __future__ import annotations

from types import MappingProxyType

import pytest

from colbert_rag.errors import CorruptIndexError
from colbert_rag.storage.rows import content_checksum, content_of, document_of, json_text
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


@pytest.mark.parametrize(("metadata", "extra"), [("{", None), ("[1]", None), ("{}", "{"), ("3", None)])
def test_what_is_no_json_object_is_corrupt(metadata, extra):
    with pytest.raises(CorruptIndexError, match=r"document 'i'.*metadata"):
        document_of("i", None, "", "text", metadata, extra)
