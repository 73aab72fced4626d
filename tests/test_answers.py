"""A search that ``close`` overtakes says so, and makes nothing anew that nobody would end."""

from __future__ import annotations

import threading

import pytest

from colbert_rag import IndexClosedError

QUERIES = ["amber", "birch", "cedar dune"]


@pytest.fixture(params=[{}, {"exact_tokens": 100}], ids=["plain", "compressed"])
def index(request, new_index, documents):
    index = new_index(**request.param)
    index.add(documents)
    return index


def assert_overtaken(index, search):
    before = threading.active_count()
    with pytest.raises(IndexClosedError, match=r"closed during a search. Open it again with Index.open\("):
        search()
    assert threading.active_count() <= before
    assert index._answers._workers is index._answers._snapshot is None


@pytest.mark.parametrize("mode", ["maxsim", "bm25", "hybrid"])
@pytest.mark.parametrize("has_searched", [False, True], ids=["the first", "a later one"])
def test_a_search_whose_filter_closes_the_index_begins_no_threads_and_maps_nothing(index, mode, has_searched):
    if has_searched:
        index.search(QUERIES[0])

    def closing(document):
        index.close()
        return True

    assert_overtaken(index, lambda: index.search_many(QUERIES, 3, mode=mode, filter=closing))


@pytest.mark.parametrize("search", ["search", "explain"])
def test_a_search_that_has_its_threads_when_the_index_is_closed_maps_nothing(index, monkeypatch, search):
    begin = index._answers._threads

    def overtaken():
        threads = begin()
        index.close()
        return threads

    monkeypatch.setattr(index._answers, "_threads", overtaken)
    assert_overtaken(index, lambda: getattr(index, search)(QUERIES[0]))
