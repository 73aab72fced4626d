"""T16: the golden indexes of every format version open, are sound, and give the hits that they gave when made."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from colbert_rag import Document, Index, UnsupportedFormatError
from colbert_rag.storage.schema import FORMAT_VERSION

HERE = Path(__file__).parent
MOST_BYTES = 250_000
GOLDEN = sorted(HERE.glob("v*/*.zip"))
SCORES = ("score", "relevance")

spec = importlib.util.spec_from_file_location("golden_make", HERE / "make.py")
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)


def name_of(archive):
    return f"{archive.parent.name}-{archive.stem}"


@pytest.fixture(params=GOLDEN, ids=name_of)
def golden(request, tmp_path):
    """An unpacked golden index and what it must answer."""
    shutil.unpack_archive(request.param, tmp_path / "index")
    return tmp_path / "index", json.loads(request.param.with_suffix(".json").read_text(encoding="utf-8"))


def assert_same(found, expected, place=""):
    """Equal but for the rounding of scores, which another machine's arithmetic may do otherwise."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key, value in expected.items():
            assert_same(found[key], value, f"{place}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{place}/{number}")
    elif place.rsplit("/", 1)[-1] in SCORES:
        assert found == pytest.approx(expected, abs=1e-4), place
    else:
        assert found == expected, place


def test_the_current_format_has_golden_indexes_of_every_kind():
    assert {path.stem for path in GOLDEN if path.parent.name == f"v{FORMAT_VERSION}"} == set(make.KINDS)


def test_a_golden_index_gives_the_hits_that_it_gave_when_it_was_made(golden):
    path, expected = golden
    with Index.open(path, make.ENCODER, read_only=True) as index:
        assert_same(json.loads(json.dumps(make.answers(index))), expected)


def test_a_golden_index_is_sound_and_takes_new_documents(golden):
    path, expected = golden
    with Index.open(path, make.ENCODER) as index:
        assert index.verify().problems == ()
        index.add([Document("new", "A walrus nobody mentioned.")])
        index.compact()
        assert index.search("walrus", 1)[0].id == "new"
        assert list(index.ids()) == [*expected["ids"], "new"]
        assert index.verify().problems == ()


def test_the_script_still_makes_what_lies_in_the_folder(tmp_path):
    for kind in make.KINDS:
        expected = json.loads((HERE / f"v{FORMAT_VERSION}" / f"{kind}.json").read_text(encoding="utf-8"))
        make.build(tmp_path / kind, kind)
        with Index.open(tmp_path / kind, make.ENCODER, read_only=True) as index:
            assert [hit["id"] for hit in expected["hits"]["exactly"]][:1] == [
                hit.id for hit in index.search(make.QUERIES[0], 1, config=make.SearchConfig(exact=True))
            ]
            assert list(index.ids()) == expected["ids"]


def test_an_index_of_a_newer_format_is_refused_with_words(tmp_path):
    shutil.unpack_archive(GOLDEN[0], tmp_path / "index")
    with closing(sqlite3.connect(tmp_path / "index" / "catalog.sqlite")) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    with pytest.raises(UnsupportedFormatError, match=rf"format version {FORMAT_VERSION + 1}.*Upgrade"):
        Index.open(tmp_path / "index", make.ENCODER)


def test_golden_files_stay_small():
    assert sum(path.stat().st_size for path in HERE.glob("v*/*")) <= MOST_BYTES
