"""Hostile numbers in array files: every number that a kernel or NumPy indexes, allocates or loops with."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from hostile_case import Case
from hostile_index import HostileIndex

FAR = 2**63 - 1


def change(name: str, dtype: str, place: int, value: float) -> Callable[[HostileIndex], None]:
    return lambda index: index.change(name, dtype, place, value)


def fill(name: str, byte: int) -> Callable[[HostileIndex], None]:
    return lambda index: index.put(name, bytes([byte]) * index.array(name, "uint8").size)


def order(name: str, dtype: str) -> Callable[[HostileIndex], None]:
    return lambda index: index.put(name, index.array(name, dtype)[::-1].copy())


def wrapped_offsets(index: HostileIndex) -> None:
    """Their differences wrap around to positive numbers in 64 bits."""
    offsets = index.array("doc_offsets", "int64")
    offsets[1:3] = FAR, -2
    index.put("doc_offsets", offsets)


def foreign_keys(index: HostileIndex) -> None:
    index.put("doc_keys", index.array("doc_keys", "int64") + 1_000)


def same_keys_twice(index: HostileIndex) -> None:
    keys = index.array("doc_keys", "int64")
    [other] = [path for path in index.folder.glob("segment-*") if path != index.segment]
    path = other / "doc_keys.npy"
    path.write_bytes(path.read_bytes()[:128] + keys[: (path.stat().st_size - 128) // 8].tobytes())
    index.fit_files()


def text_shorter_than_spans(index: HostileIndex) -> None:
    index.sql("UPDATE content SET text = 'x.'")


def exchanged_texts(index: HostileIndex) -> None:
    """One text much shorter: passages must not come from the neighbour."""
    index.sql("UPDATE content SET text = CASE key % 2 WHEN 0 THEN 'short.' ELSE text END")


CASES = [
    *(
        Case(f"vectors: {value}", "search", change("vectors", "float16", 77, value), is_packed=False)
        for value in (np.nan, np.inf, -np.inf, 65_504, -65_504, 1.1)
    ),
    Case("doc_offsets: the first is not 0", "search", change("doc_offsets", "int64", 0, 1)),
    Case("doc_offsets: negative", "search", change("doc_offsets", "int64", 1, -5)),
    Case("doc_offsets: huge", "search", change("doc_offsets", "int64", 1, FAR)),
    Case("doc_offsets: beyond the tokens", "search", change("doc_offsets", "int64", -1, 10**6)),
    Case("doc_offsets: a document of no tokens", "search", change("doc_offsets", "int64", 1, 0)),
    Case("doc_offsets: falling", "search", order("doc_offsets", "int64")),
    Case("doc_offsets: differences wrap around", "search", wrapped_offsets),
    Case("doc_offsets of plain vectors: huge", "search", change("doc_offsets", "int64", 1, FAR), is_packed=False),
    Case("doc_keys: falling", "search", order("doc_keys", "int64")),
    Case("doc_keys: one twice", "search", change("doc_keys", "int64", 1, 1)),
    Case("doc_keys: of no documents", "search", foreign_keys),
    Case("doc_keys: of another segment too", "search", same_keys_twice, is_packed=False),
    Case("centroid_ids: beyond the centroids", "search", change("centroid_ids", "uint16", 5, 65_535)),
    Case("list_offsets: the first is not 0", "search", change("list_offsets", "int64", 0, 1)),
    Case("list_offsets: beyond the postings", "search", change("list_offsets", "int64", -1, 10**9)),
    Case("list_offsets: huge", "search", change("list_offsets", "int64", 3, FAR)),
    Case("list_offsets: negative", "search", change("list_offsets", "int64", 3, -1)),
    Case("list_offsets: falling", "search", order("list_offsets", "int64")),
    Case("postings: numbers that never end", "pruned", fill("postings", 0x80)),
    Case("postings: numbers of more than 32 bits", "pruned", fill("postings", 0xFF)),
    Case("postings: positions beyond the documents", "pruned", fill("postings", 0x7F)),
    Case("postings: positions that do not rise", "pruned", fill("postings", 0)),
    Case("escape_tokens: negative", "search", change("escape_tokens", "int64", 0, -1)),
    Case("escape_tokens: beyond the tokens", "search", change("escape_tokens", "int64", -1, 10**6)),
    Case("escape_tokens: falling", "search", order("escape_tokens", "int64")),
    Case("escape_spans: a negative start", "search", change("escape_spans", "int32", 0, -7)),
    Case("escape_spans: a huge end", "search", change("escape_spans", "int32", 1, 2**31 - 1)),
    Case("escape_spans: an end before the start", "search", change("escape_spans", "int32", 1, 0)),
    Case("spans: they run out of the text", "search", fill("spans", 6 << 5 | 31)),
    Case("spans: escapes that no table holds", "search", fill("spans", 0xFF)),
    Case("texts shorter than their spans", "search", text_shorter_than_spans),
    Case("every second text shorter than its spans", "search", exchanged_texts),
    Case("texts shorter than the spans of plain vectors", "search", text_shorter_than_spans, is_packed=False),
    *(
        Case(f"centroids: {value}", "search", change("centroids", "float16", 3, value))
        for value in (np.nan, np.inf, 65_504, -2)
    ),
    *(
        Case(f"rotation: {value}", "search", change("rotation", "float32", 3, value))
        for value in (np.nan, np.inf, 3e38, -2)
    ),
    Case("rotation: nothing but zeros", "search", fill("rotation", 0)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_numbers_out_of_range_are_refused(refused, case):
    refused(case)


HARMLESS = [
    Case("any codes", "", fill("codes", 0xFF)),
    Case("any factors", "", fill("factors", 0xFF)),
    Case("factors of 0", "", fill("factors", 0)),
    Case("vectors of 0", "", fill("vectors", 0), is_packed=False),
    Case("centroids of 0", "", fill("centroids", 0)),
    Case("spans without text", "", fill("spans", 0)),
]


@pytest.mark.parametrize("case", HARMLESS, ids=str)
def test_numbers_of_which_every_one_is_legal_do_no_harm(attack, case):
    said = attack(case)
    assert said["search"] == said["compact"] == "fine", said


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def header(index: HostileIndex, name: str, text: str, version: int = 1) -> None:
    path = index.segment / f"{name}.npy"
    content = path.read_bytes()
    body = (text + " " * (117 - len(text)) + "\n").encode()
    path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + len(body).to_bytes(2, "little") + body + content[128:])
    index.fit_files()


def pickled(index: HostileIndex) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Canary(index.outside / "canary")], object), allow_pickle=True)
    (index.segment / "doc_keys.npy").write_bytes(buffer.getvalue())
    index.fit_files()


def zipped(index: HostileIndex) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, doc_keys=np.arange(20))
    (index.segment / "doc_keys.npy").write_bytes(buffer.getvalue())
    index.fit_files()


def resized(by: int) -> Callable[[HostileIndex], None]:
    def make(index: HostileIndex) -> None:
        path = index.segment / "codes.npy"
        content = path.read_bytes()
        path.write_bytes(content[:by] if by < 0 else content + bytes(by))
        index.fit_files()

    return make


def emptied(index: HostileIndex) -> None:
    (index.segment / "codes.npy").write_bytes(b"")
    index.fit_files()


SHAPE = "'fortran_order': False, 'shape': (20,), }"
FILES = [
    Case("a pickle in an array file", "search", pickled),
    Case("an archive in an array file", "search", zipped),
    Case("no byte in an array file", "search", emptied),
    Case("one byte too few", "search", resized(-1)),
    Case("one byte too many", "search", resized(1)),
    Case("objects", "search", lambda index: header(index, "doc_keys", "{'descr': '|O', " + SHAPE)),
    Case("big-endian numbers", "search", lambda index: header(index, "doc_keys", "{'descr': '>i8', " + SHAPE)),
    Case(
        "Fortran order",
        "search",
        lambda i: header(i, "codes", "{'descr': '|u1', 'fortran_order': True, 'shape': (1,)}"),
    ),
    Case("another version of the header", "search", lambda i: header(i, "doc_keys", "{'descr': '<i8', " + SHAPE, 2)),
    Case("code in the header", "search", lambda i: header(i, "doc_keys", "__import__('os').abort()")),
]


@pytest.mark.parametrize("case", FILES, ids=str)
def test_files_that_are_not_the_arrays_we_write_are_refused(refused, case):
    refused(case)


def test_the_pickle_would_have_fired(hostile, tmp_path):
    index = hostile(False)
    pickled(index)
    np.load(index.segment / "doc_keys.npy", allow_pickle=True)[0].close()
    assert (index.outside / "canary").exists()
