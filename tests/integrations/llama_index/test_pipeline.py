"""Ingestion pipelines feed the store, with every strategy of LlamaIndex for documents that come again."""

from __future__ import annotations

import pytest
from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index_colbert_rag import LateInteractionMarker


@pytest.fixture
def pipeline(store):
    return IngestionPipeline(
        transformations=[SentenceSplitter(), LateInteractionMarker()],
        vector_store=store,
        docstore=SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS,
    )


@pytest.fixture(params=["run", "arun"])
def run(request: pytest.FixtureRequest, pipeline):
    async def call(documents: list[Document]) -> int:
        if request.param == "run":
            return len(pipeline.run(documents=documents))
        return len(await pipeline.arun(documents=documents))

    return call


def held(store) -> dict[str, str]:
    return {node.ref_doc_id or node.node_id: node.get_content() for node in store.get_nodes()}


async def test_upserts_write_what_is_new_or_changed(run, store, documents):
    assert await run(documents) == 4
    assert await run(documents) == 0
    before = {node.node_id for node in store.get_nodes()}
    documents[1] = Document(id_="leave", text="No leave.")
    assert await run(documents) == 1
    assert held(store)["leave"] == "No leave."
    assert len(store.client) == 4
    assert len({node.node_id for node in store.get_nodes()} & before) == 3


async def test_upserts_and_delete_take_away_what_comes_no_more(run, pipeline, store, documents):
    pipeline.docstore_strategy = DocstoreStrategy.UPSERTS_AND_DELETE
    await run(documents)
    await run(documents[:2])
    assert held(store).keys() == {"notice", "leave"}


async def test_duplicates_only_writes_each_content_once(run, pipeline, store, documents):
    pipeline.docstore_strategy = DocstoreStrategy.DUPLICATES_ONLY
    await run(documents)
    assert await run(documents) == 0
    assert len(store.client) == 4


async def test_without_the_marker_the_pipeline_drops_the_nodes_and_with_it_a_cache_keeps_them(
    run, pipeline, store, documents
):
    pipeline.docstore = None
    pipeline.transformations = [SentenceSplitter()]
    await run(documents)
    assert len(store.client) == 0
    pipeline.transformations = [SentenceSplitter(), LateInteractionMarker()]
    await run(documents)
    store.clear()
    await run(documents)
    assert len(store.client) == 4, "nodes from the cache of the pipeline are marked too"


async def test_a_second_pipeline_that_loads_what_the_first_one_kept_writes_nothing_twice(
    run, pipeline, store, tmp_path
):
    await run([Document(id_="a", text="amber"), Document(id_="b", text="birch")])
    pipeline.persist(str(tmp_path / "kept"))
    later = IngestionPipeline(transformations=pipeline.transformations, vector_store=store)
    later.load(str(tmp_path / "kept"))
    assert len(later.run(documents=[Document(id_="a", text="amber"), Document(id_="b", text="cedar")])) == 1
    assert held(store) == {"a": "amber", "b": "cedar"}


@pytest.mark.slow
def test_the_marker_runs_in_processes_of_their_own(pipeline, store, documents):
    pipeline.transformations = [LateInteractionMarker()]
    pipeline.run(documents=documents, num_workers=2)
    assert held(store).keys() == {"notice", "leave", "remote", "frist"}


async def test_whole_documents_are_upserted_by_their_own_id(run, pipeline, store, documents):
    pipeline.transformations = [LateInteractionMarker()]
    await run(documents)
    await run([Document(id_="leave", text="No leave."), *documents[2:]])
    assert held(store)["leave"] == "No leave."
    assert len(store.client) == 4
