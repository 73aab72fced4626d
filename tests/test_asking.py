from __future__ import annotations

import asyncio
import os
import threading

import numpy as np
import pytest

from colbert_rag import Document, IndexClosedError, InvalidFilterError, InvalidQueryError, SearchConfig
from colbert_rag.testing import HashEncoder


class CountingEncoder(HashEncoder):
    """Notes every forward pass; keeps no queries."""

    def __init__(self):
        super().__init__(32)
        self.passes = []

    def encode_queries(self, texts):
        self.passes.append(list(texts))
        return super().encode_queries(texts)


@pytest.fixture
def encoder():
    return CountingEncoder()


@pytest.fixture
def index(new_index, documents):
    index = new_index(exact_tokens=0)
    index.add(documents)
    return index


async def test_an_async_search_finds_what_a_search_finds(index, documents):
    for mode in ("maxsim", "bm25", "hybrid"):
        for chosen in (None, {"even": True}, lambda d: d.metadata["n"] < 50):
            config = SearchConfig(passages=2)
            query = documents[7].text.split(".")[0]
            found = await index.asearch(query, 5, mode=mode, filter=chosen, config=config)
            assert found == index.search(query, 5, mode=mode, filter=chosen, config=config)


async def test_concurrent_callers_share_forward_passes(index, encoder, documents):
    queries = [d.text.split(".")[0] for d in documents[:100]]
    expected = index.search_many(queries, 3)
    encoder.passes.clear()
    assert list(await asyncio.gather(*(index.asearch(query, 3) for query in queries))) == expected
    assert sorted(query for texts in encoder.passes for query in texts) == sorted(queries)
    assert len(encoder.passes) <= 5


async def test_callers_with_other_terms_share_the_forward_pass_too(index, encoder):
    ks = range(1, 9)
    found = await asyncio.gather(
        *(index.asearch("amber birch", k) for k in ks), *(index.asearch("amber birch", k, mode="hybrid") for k in ks)
    )
    assert [len(hits) for hits in found] == [*ks, *ks]


async def test_a_query_that_comes_twice_is_encoded_once(index, encoder):
    encoder.passes.clear()
    found = index.search_many(["amber", "birch", "amber"], 2)
    assert encoder.passes == [["amber", "birch"]]
    assert found[0] == found[2]


async def test_hits_of_equal_requests_are_lists_of_their_own(index):
    one, other = await asyncio.gather(*(index.asearch("amber birch", 3) for _ in range(2)))
    one.clear()
    assert len(other) == 3


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"query": " "}, InvalidQueryError),
        ({"k": 0}, InvalidQueryError),
        ({"mode": "words"}, InvalidQueryError),
        ({"filter": {"n": {"$above": 3}}}, InvalidFilterError),
        ({"config": SearchConfig(diversity=2)}, InvalidQueryError),
    ],
)
async def test_a_wrong_request_is_refused_and_fails_nobody_else(index, wrong, error):
    results = await asyncio.gather(
        index.asearch("amber birch", 3),
        index.asearch(**({"query": "amber birch"} | wrong)),
        index.asearch("cedar", 3),
        return_exceptions=True,
    )
    assert isinstance(results[1], error)
    assert results[0] == index.search("amber birch", 3)
    assert results[2] == index.search("cedar", 3)


async def test_a_ticker_ticks_while_queries_are_encoded(new_index, documents, monkeypatch):
    index = new_index()
    index.add(documents[:5])
    encode, released = HashEncoder.encode_queries, threading.Event()

    def slow(self, texts):
        assert released.wait(10)
        return encode(self, texts)

    monkeypatch.setattr(HashEncoder, "encode_queries", slow)
    search = asyncio.create_task(index.asearch("amber"))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not search.done()
    released.set()
    assert len(await search) == 5


async def test_a_closed_index_refuses(index):
    await index.asearch("amber")
    index.close()
    with pytest.raises(IndexClosedError, match="Open it again"):
        await index.asearch("amber")


async def test_an_async_search_that_close_overtakes_begins_no_thread(index, monkeypatch):
    monkeypatch.setattr(index._answers, "check_usable", index.close)
    before = threading.active_count()
    with pytest.raises(IndexClosedError, match="Open it again"):
        await index.asearch("amber")
    assert threading.active_count() <= before


def test_words_need_no_encoder(new_index):
    index = new_index(dim=32)
    row = np.eye(1, 32, dtype=np.float32)
    from colbert_rag import TokenVectors

    index.add_vectors([(Document("a", "amber birch"), TokenVectors(row, np.array([[0, 5]])))])
    assert [hit.id for hit in index.search("birch", mode="bm25")] == ["a"]
    assert asyncio.run(index.asearch("birch", mode="bm25"))[0].passages[0].text == "amber birch"


async def test_a_slow_function_keeps_nobody_else_waiting(index):
    released = threading.Event()
    slow = asyncio.create_task(index.asearch("amber", filter=lambda d: released.wait(20)))
    await asyncio.sleep(0.05)
    assert len(await asyncio.wait_for(index.asearch("amber", 3), 10)) == 3
    assert not slow.done()
    released.set()
    assert len(await slow) == 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_told_to_open_the_index_again(index):
    asyncio.run(index.asearch("amber"))
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(asyncio.wait_for(index.asearch("amber"), 10))
        except IndexClosedError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
