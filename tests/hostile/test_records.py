"""Hostile records in the catalog: counts that claim memory, names that lead out of the folder, JSON of any kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from hostile_case import Case
from hostile_index import HostileIndex

MUCH = 2**48
VECTORS = ("InvalidQueryError", "InvalidVectorsError")


def segment(**changes: Any) -> Callable[[HostileIndex], None]:
    return lambda index: index.edit_segment(lambda record: record.update(changes))


def codec(**changes: Any) -> Callable[[HostileIndex], None]:
    return lambda index: index.edit_codec(lambda record: record.update(changes))


def settings(**changes: Any) -> Callable[[HostileIndex], None]:
    return lambda index: index.edit_settings(lambda record: record.update(changes))


def text(table: str, column: str, value: str) -> Callable[[HostileIndex], None]:
    return lambda index: index.sql(f"UPDATE {table} SET {column} = ?", value)


def named(name: str) -> Callable[[HostileIndex], None]:
    """A file of the segment is said to be somewhere else."""
    return lambda index: index.edit_segment(lambda record: record["files"]["codes"].update(name=name))


def outside_name(index: HostileIndex) -> None:
    """A name that would lead to an array that is there, with its size."""
    content = (index.segment / "codes.npy").read_bytes()
    (index.outside / "codes.npy").write_bytes(content)
    named(f"../../{index.outside.name}/codes.npy")(index)


def one_file_twice(index: HostileIndex) -> None:
    index.edit_segment(lambda record: record["files"].update(spans=record["files"]["postings"]))


def further_file(index: HostileIndex) -> None:
    index.edit_segment(lambda record: record["files"].update(more={**record["files"]["spans"], "name": "more.npy"}))


def missing_file(index: HostileIndex) -> None:
    index.edit_segment(lambda record: record["files"].pop("spans"))


def renamed(name: str) -> Callable[[HostileIndex], None]:
    """The segment lies in a folder of another name, and its record says so."""

    def make(index: HostileIndex) -> None:
        old = index.segment
        if not (index.folder / name).exists():
            shutil.copytree(old, index.folder / name)
        index.edit_segment(lambda record: record.update(name=name))
        index.sql("UPDATE segments SET name = ? WHERE name = ?", name, old.name)

    return make


def codec_as_segment(index: HostileIndex) -> None:
    """A merge would remove the folder of the codec."""
    renamed(index.codec.name)(index)


def other_name_of_the_row(index: HostileIndex) -> None:
    index.sql("UPDATE segments SET name = name || '0'")


def twice(index: HostileIndex) -> None:
    index.sql("INSERT INTO segments SELECT name || '0', record FROM segments LIMIT 1")


def duplicate_fields(index: HostileIndex) -> None:
    record = json.dumps(json.loads(index._column("SELECT record FROM segments")[0]))
    much = record[:-1] + ', "n_tokens": 281474976710656}'
    index.sql("UPDATE segments SET record = ? WHERE name = (SELECT min(name) FROM segments)", much)


def lists_of_plain_vectors(index: HostileIndex) -> None:
    def edit(record: dict[str, Any]) -> None:
        file = record["files"]["spans"]
        record["posting_bytes"] = record["n_tokens"]
        record["files"].update(list_offsets=file, postings={**file, "name": "postings.npy"})

    index.edit_segment(edit)


COUNTS = [
    *(
        Case(f"{field}: {value!r}", at, segment(**{field: value}))
        for field in ("n_tokens", "n_documents", "n_escapes", "posting_bytes")
        for value, at in ((MUCH, "search"), (MUCH + 1, "open"), (-1, "open"), ("5", "open"), (1.5, "open"))
    ),
    Case("n_tokens: true", "open", segment(n_tokens=True)),
    Case("n_documents: 0", "search", segment(n_documents=0)),
    Case("counts of nothing", "search", segment(n_documents=0, n_tokens=0, n_escapes=0, posting_bytes=0)),
    Case("2^48 tokens of plain vectors", "search", segment(n_tokens=MUCH), is_packed=False),
    Case("n_centroids: 2^24", "open", codec(n_centroids=2**24)),
    Case("n_centroids: 2^18", "search", codec(n_centroids=2**18)),
    Case("n_centroids: 0", "open", codec(n_centroids=0)),
    Case("trained_on: 0", "open", codec(trained_on=0)),
    # the vectors of a query do not fit then either
    Case("dim: 1024", "verify", settings(dim=1024), typed=VECTORS),
    Case("dim: 1024, plain vectors", "verify", settings(dim=1024), is_packed=False, typed=VECTORS),
    Case("dim: 2^31", "open", settings(dim=2**31)),
    Case("dim: 0", "open", settings(dim=0)),
    Case("bits: 4 of 2", "search", settings(bits=4)),
    Case("bits: 3", "open", settings(bits=3)),
    Case("exact_tokens: -1", "open", settings(exact_tokens=-1)),
    Case("seed: 2^40", "open", settings(seed=2**40)),
    Case("pool_factor: 9", "open", settings(pool_factor=9)),
    Case("model: a list", "open", settings(model=[])),
    Case("settings of a later version", "open", settings(later=1)),
    Case("fields twice, the last much too large", "search", duplicate_fields),
]


@pytest.mark.parametrize("case", COUNTS, ids=str)
def test_counts_and_settings_that_do_not_fit_are_refused(refused, case):
    refused(case)


NAMES = [
    *(
        Case(f"a file named {name!r}", "open", named(name))
        for name in (
            "/etc/passwd",
            "a/b",
            "..",
            ".",
            "",
            "Codes.npy",
            "codes.npy\n",
            "codes\0.npy",
            "x" * 65,
            "c\\d",
            "ä",
        )
    ),
    Case("a file outside, under a name with ..", "open", outside_name),
    Case("a file of 64 characters that is not there", "search", named("x" * 64)),
    Case("one file for two columns", "search", one_file_twice),
    Case("a file that no column has", "search", further_file),
    Case("a column without a file", "search", missing_file),
    *(
        Case(f"a segment named {name!r}", "open", renamed(name))
        for name in ("../outside", "catalog.sqlite", ".", "SEGMENT-1", "segment-" + "1" * 33, "segment-x", "codec-1")
    ),
    Case("a segment that is the codec's folder", "open", codec_as_segment),
    Case("a codec named as a segment", "open", codec(name="segment-1")),
    Case("a codec outside", "open", codec(name="../outside")),
    Case("a codec that is not there", "open", codec(name="codec-0")),
    Case("rows of segments under other names", "compact", other_name_of_the_row),
    Case("one segment in two rows", "open", twice),
    Case("no digest", "open", lambda i: i.edit_segment(lambda r: r["files"]["codes"].update(sha256=""))),
    Case("another digest", "verify", lambda i: i.edit_segment(lambda r: r["files"]["codes"].update(sha256="0" * 64))),
    Case("segments without their codec", "open", segment(codec=None)),
    Case("segments of a codec that there is not", "open", lambda i: i.sql("UPDATE state SET codec = NULL")),
    Case("inverted lists of plain vectors", "search", lists_of_plain_vectors, is_packed=False),
]


@pytest.mark.parametrize("case", NAMES, ids=str)
def test_names_that_are_not_ours_are_refused(refused, case):
    refused(case)


DEEP = '{"a":' * 5_000
LARGE = '{"dim":16,"bits":2,"exact_tokens":1,"probe_tokens":1,"seed":0,"model":{"a":[' + "[]," * 5_000_000 + "0]}}"
JSON = [
    Case(f"{table}.{column}: {name}", "open", text(table, column, value))
    for table, column in (("state", "settings"), ("state", "codec"), ("segments", "record"))
    for name, value in (
        *(("nothing", ""), ("null", "null"), ("a list", "[]"), ("half of it", '{"name": "segm'), ("a number", "5")),
        *(("a depth bomb", DEEP), ("a deep list", "[" * 100_000), ("a huge integer", '{"dim": ' + "9" * 10_000 + "}")),
        *(("NaN", '{"dim": NaN}'), ("half a character", '{"name": "\\ud800"}'), ("a NUL", '{"name": "a\0b"}')),
    )
] + [
    Case("settings of 15 MB, which would take half a gigabyte", "open", text("state", "settings", LARGE)),
    Case("a model that is nested 150 times", "open", settings(model={"a": json.loads("[" * 250 + "]" * 250)})),
]


@pytest.mark.parametrize("case", JSON, ids=str)
def test_json_that_we_never_write_is_refused(refused, case):
    refused(case)
