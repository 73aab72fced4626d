"""Every async method of the adapter leaves the event loop free; the encoder here takes 0.2 s."""

from __future__ import annotations

import sqlite3

import pytest
from langchain_colbert_rag import ColBERTRetriever, ColBERTVectorStore
from langchain_core.documents import Document

from colbert_rag import IndexLockedError

MORE = [Document(id="more", page_content="one more page")]

CALLS = {
    "aadd_documents": lambda store: store.aadd_documents(MORE),
    "aadd_texts": lambda store: store.aadd_texts(["one more page"]),
    "asimilarity_search": lambda store: store.asimilarity_search("page"),
    "asimilarity_search_with_score": lambda store: store.asimilarity_search_with_score("page"),
    "asimilarity_search_with_relevance_scores": lambda store: store.asimilarity_search_with_relevance_scores("page"),
    "amax_marginal_relevance_search": lambda store: store.amax_marginal_relevance_search("page"),
    "asearch": lambda store: store.asearch("page", "similarity"),
    "as_retriever": lambda store: store.as_retriever().ainvoke("page"),
    "ainvoke": lambda store: ColBERTRetriever(store=store).ainvoke("page"),
    "abatch": lambda store: ColBERTRetriever(store=store).abatch(["page", "more"]),
    "afrom_texts": lambda store: ColBERTVectorStore.afrom_texts(["one more page"], index=store.index),
    "afrom_documents": lambda store: ColBERTVectorStore.afrom_documents(MORE, index=store.index),
}


@pytest.fixture
def slow_store(new_store, slow_encoder, pages):
    store = new_store(given=slow_encoder)
    store.add_documents(pages)
    return store


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_encodes_keeps_the_loop_free(slow_store, loop_free, name: str):
    async with loop_free():
        await CALLS[name](slow_store)


@pytest.fixture
def locked_store(tmp_path, encoder, pages):
    """A store whose writes wait 0.3 s for another writer, and then give up."""
    store = ColBERTVectorStore(tmp_path / "index", encoder, lock_timeout_s=0.3)
    store.add_documents(pages)
    yield store
    store.index.close()


async def test_a_delete_that_waits_for_another_writer_keeps_the_loop_free(locked_store, loop_free):
    other = sqlite3.connect(locked_store.index.path / "catalog.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        async with loop_free():
            with pytest.raises(IndexLockedError):
                await locked_store.adelete(["notice"])
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert await locked_store.adelete(["notice"])
    assert await locked_store.aget_by_ids(["notice"]) == []


async def test_the_loop_is_kept_free_while_the_model_loads(new_store, builtin, loop_free):
    store = new_store(given=builtin)
    store.add_documents(MORE)
    retriever = ColBERTRetriever.open(store.index.path)
    async with loop_free():
        [found] = await retriever.ainvoke("page")
    assert found.id == "more"
    assert retriever.store.encoder is not builtin
    retriever.store.index.close()
