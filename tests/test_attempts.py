from __future__ import annotations

import pytest

from colbert_rag import CorruptIndexError, Document
from colbert_rag.attempts import read_newest
from colbert_rag.storage import Catalog


@pytest.fixture
def index(new_index):
    return new_index()


@pytest.fixture
def catalog(index):
    made = Catalog(index.path)
    yield made
    made.close()


def overtaken(index, times):
    """Reads that find a file gone, and each time a newer commit that explains it."""
    tried = []

    def read(reading, commits):
        assert reading.commits() == commits
        tried.append(commits)
        if len(tried) <= times:
            index.add([Document(f"d{len(tried)}", "amber")])
            msg = "codes.npy: missing"
            raise CorruptIndexError(msg)
        return "read"

    return tried, read


def test_a_commit_that_a_merge_has_overtaken_is_left_for_the_next(index, catalog):
    tried, read = overtaken(index, times=2)
    assert read_newest(catalog, read) == "read"
    assert tried == [tried[0], tried[0] + 1, tried[0] + 2]


def test_damage_that_no_commit_explains_is_told_at_once(index, catalog):
    tried = []

    def read(reading, commits):
        tried.append(commits)
        msg = "codes.npy: missing"
        raise CorruptIndexError(msg)

    with pytest.raises(CorruptIndexError, match=r"codes\.npy"):
        read_newest(catalog, read)
    assert len(tried) == 1


def test_a_reader_that_is_overtaken_for_ever_gives_up(index, catalog):
    tried, read = overtaken(index, times=100)
    with pytest.raises(CorruptIndexError, match=r"codes\.npy"):
        read_newest(catalog, read)
    assert len(tried) == 5
