from __future__ import annotations

import pickle

import pytest
from langchain_colbert_rag import ColBERTReranker, ColBERTRetriever, InvalidArgumentError, RerankingRetriever
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import ConfigurableField, RunnableLambda
from pydantic import ValidationError

QUERY = "how long is the notice period"


@pytest.fixture
def wrapped(handbook, encoder) -> RerankingRetriever:
    return ColBERTReranker(encoder=encoder, top_n=3).wrap(ColBERTRetriever(store=handbook, mode="bm25"))


def ids_of(documents):
    return [document.id for document in documents]


async def test_arguments_of_a_call_go_to_the_retriever_inside(wrapped):
    assert ids_of(wrapped.invoke(QUERY, k=1, filter={"lang": "en"})) == ["notice"]
    german = {"filter": {"lang": "de"}, "mode": "maxsim"}
    assert ids_of(wrapped.invoke(QUERY, **german)) == ids_of(await wrapped.ainvoke(QUERY, **german)) == ["frist"]
    with pytest.raises(InvalidArgumentError, match="top_k"):
        wrapped.invoke(QUERY, top_k=3)


async def test_the_configuration_of_a_call_goes_to_the_retriever_inside(handbook, encoder):
    tunable = ColBERTRetriever(store=handbook).configurable_fields(k=ConfigurableField(id="k"))
    wrapped = ColBERTReranker(encoder=encoder, top_n=None).wrap(tunable)
    config = {"configurable": {"k": 1}}
    assert len(wrapped.invoke(QUERY)) == 4
    assert len(wrapped.invoke(QUERY, config)) == len(await wrapped.ainvoke(QUERY, config)) == 1
    assert [len(found) for found in wrapped.batch([QUERY, QUERY], [config, {}])] == [1, 4]
    assert len(wrapped.with_config(config).invoke(QUERY)) == 1


def test_the_name_and_the_id_of_a_run_stay_with_the_run_outside(wrapped):
    runs = []

    class Handler(BaseCallbackHandler):
        def on_retriever_start(self, serialized, query, *, run_id, tags=None, name=None, **kwargs):
            runs.append((name, tags))

    wrapped.invoke(QUERY, {"callbacks": [Handler()], "run_name": "outer", "tags": ["mine"]})
    assert runs == [("outer", ["mine"]), ("ColBERTRetriever", ["mine"])]


def test_an_unknown_field_is_refused(wrapped):
    with pytest.raises(ValidationError, match="top_n"):
        RerankingRetriever(retriever=wrapped.retriever, reranker=wrapped.reranker, top_n=3)


def test_the_run_inside_is_a_child_of_the_run_outside(wrapped):
    runs = []

    class Handler(BaseCallbackHandler):
        def on_retriever_start(self, serialized, query, *, run_id, parent_run_id=None, name=None, **kwargs):
            runs.append((name, run_id, parent_run_id))

    wrapped.invoke(QUERY, {"callbacks": [Handler()]})
    outer, inner = runs
    assert (outer[0], inner[0]) == ("RerankingRetriever", "ColBERTRetriever")
    assert outer[2] is None
    assert inner[2] == outer[1]


async def test_the_run_inside_is_a_child_in_async_too(wrapped):
    events = [event async for event in wrapped.astream_events(QUERY, version="v2")]
    outer, inner = (event for event in events if event["event"] == "on_retriever_start")
    assert inner["parent_ids"] == [outer["run_id"]]


def test_any_runnable_from_a_query_to_documents_will_do(encoder, pages):
    wrapped = ColBERTReranker(encoder=encoder, top_n=1).wrap(RunnableLambda(lambda query: pages))
    assert ids_of(wrapped.invoke(QUERY)) == ["notice"]


async def test_nothing_found_is_nothing(encoder):
    wrapped = ColBERTReranker(encoder=encoder).wrap(RunnableLambda(lambda query: []))
    assert wrapped.invoke(QUERY) == await wrapped.ainvoke(QUERY) == []


def test_a_pickled_one_finds_the_same(wrapped):
    again = pickle.loads(pickle.dumps(wrapped))
    assert again.invoke(QUERY) == wrapped.invoke(QUERY)
    again.retriever.store.index.close()


async def test_the_event_loop_is_kept_free(new_store, slow_encoder, pages, loop_free):
    store = new_store(given=slow_encoder)
    store.add_documents(pages)
    wrapped = ColBERTReranker(encoder=slow_encoder).wrap(ColBERTRetriever(store=store))
    async with loop_free():
        await wrapped.ainvoke(QUERY)
