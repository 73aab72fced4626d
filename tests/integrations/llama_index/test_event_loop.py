"""Every async method of the adapter leaves the event loop free; the encoder here takes 0.2 s."""

from __future__ import annotations

import asyncio
import sqlite3
import time

import pytest
from llama_index.core import Document
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery
from llama_index_colbert_rag import (
    ColBERTIndex,
    ColBERTRerank,
    ColBERTRetriever,
    ColBERTVectorStore,
    LateInteractionMarker,
)

from colbert_rag import IndexLockedError

MORE = [TextNode(id_="more", text="one more page")]
DOCUMENT = Document(id_="more", text="one more page")
TWO = QueryBundle("page", custom_embedding_strs=["one", "more"])
PIPELINE = [LateInteractionMarker()]


def rerank(store: ColBERTVectorStore) -> ColBERTRerank:
    return ColBERTRerank(encoder=store.encoder)


def index(store: ColBERTVectorStore) -> ColBERTIndex:
    return ColBERTIndex.from_vector_store(store)


CALLS = {
    "async_add": lambda store: store.async_add(MORE),
    "aquery": lambda store: store.aquery(VectorStoreQuery(query_str="page")),
    "aretrieve": lambda store: ColBERTRetriever(store).aretrieve("page"),
    "aretrieve of several strings": lambda store: ColBERTRetriever(store).aretrieve(TWO),
    "apostprocess_nodes": lambda store: rerank(store).apostprocess_nodes(
        [NodeWithScore(node=node) for node in MORE], query_str="page"
    ),
    "ainsert": lambda store: index(store).ainsert(DOCUMENT),
    "ainsert_nodes": lambda store: index(store).ainsert_nodes(MORE),
    "aupdate_ref_doc": lambda store: index(store).aupdate_ref_doc(DOCUMENT),
    "arefresh_ref_docs": lambda store: index(store).arefresh_ref_docs([DOCUMENT]),
    "a query engine's aquery": lambda store: index(store).as_query_engine(llm=MockLLM()).aquery("page"),
    "a pipeline's arun": lambda store: IngestionPipeline(transformations=PIPELINE, vector_store=store).arun(nodes=MORE),
}


@pytest.fixture
def slow_store(new_store, slow_encoder, pages):
    store = new_store(given=slow_encoder)
    store.add(pages)
    return store


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_encodes_keeps_the_loop_free(slow_store, loop_free, name: str):
    async with loop_free():
        await CALLS[name](slow_store)


async def test_a_chat_keeps_the_loop_free(slow_store, loop_free):
    engine = index(slow_store).as_chat_engine(
        ChatMode.CONTEXT, llm=MockLLM(), memory=ChatMemoryBuffer.from_defaults(token_limit=3000)
    )
    async with loop_free():
        await engine.achat("page")


WRITES = {
    "adelete": lambda store: store.adelete("notice"),
    "adelete_nodes": lambda store: store.adelete_nodes(["notice"]),
    "aclear": lambda store: store.aclear(),
    "adelete_ref_doc": lambda store: index(store).adelete_ref_doc("notice"),
    "an index's adelete_nodes": lambda store: index(store).adelete_nodes(["notice"]),
}


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_waits_for_another_writer_keeps_the_loop_free(
    tmp_path, encoder, pages, loop_free, name: str
):
    store = ColBERTVectorStore(tmp_path / "index", encoder, lock_timeout_s=0.3)
    store.add(pages)
    other = sqlite3.connect(store.client.path / "catalog.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        async with loop_free():
            with pytest.raises(IndexLockedError):
                await WRITES[name](store)
    finally:
        other.execute("ROLLBACK")
        other.close()
    await WRITES[name](store)
    assert await store.aget_nodes(["notice"]) == []
    store.client.close()


async def test_reading_nodes_keeps_the_loop_free(store, loop_free):
    store.add([TextNode(text=f"page {n}") for n in range(1500)])
    # converting nodes holds the interpreter's lock most of the time; on the loop itself there would be no tick at all
    async with loop_free(ticks=3):
        started = time.perf_counter()
        while time.perf_counter() - started < 0.3:
            await store.aget_nodes()


async def test_the_loop_is_kept_free_while_the_model_loads(new_store, builtin, loop_free):
    store = new_store(given=builtin)
    store.add(MORE)
    retriever = ColBERTRetriever(ColBERTVectorStore.open(store.path))
    async with loop_free():
        [found] = await retriever.aretrieve("page")
    assert found.node_id == "more"
    assert retriever.vector_store.encoder is not builtin
    retriever.vector_store.client.close()


async def test_queries_at_the_same_time_share_forward_passes(slow_store, slow_encoder):
    retriever = ColBERTRetriever(slow_store)
    queries = ["notice", "leave", "remote", "frist", "period", "days", "work", "drei"]
    serial = [retriever.retrieve(query) for query in queries]
    assert slow_encoder.passes == 8
    slow_encoder.passes = 0
    together = await asyncio.gather(*map(retriever.aretrieve, queries))
    assert together == serial
    assert slow_encoder.passes <= 4
