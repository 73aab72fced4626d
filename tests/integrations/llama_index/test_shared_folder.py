"""One folder, opened by the core, by LlamaIndex and by LangChain: what one adds the others read."""

from __future__ import annotations

from pathlib import Path

import pytest
from llama_index.core import Document as LlamaDocument
from llama_index.core.schema import TextNode
from llama_index_colbert_rag import ColBERTIndex, ColBERTVectorStore

from colbert_rag import Document, Index


def test_the_core_reads_what_llama_index_wrote(handbook, pages, encoder):
    with Index.open(handbook.path, encoder) as index:
        assert [(d.id, d.text, d.metadata) for d in index.find()] == sorted(
            (page.node_id, page.text, page.metadata) for page in pages
        )
        [hit] = index.search("thirty days", 1, filter={"lang": "en"})
        assert hit.id == "leave"
        index.delete(["leave"])
    assert handbook.get_nodes(["leave"]) == []


def test_llama_index_reads_what_the_core_wrote(tmp_path: Path, encoder):
    with Index.create(tmp_path / "index", encoder) as index:
        index.add([Document("a", "amber birch", {"n": 1}), Document("b", "cedar", {"n": 2}, ref_id="doc")])
        store = ColBERTVectorStore.open(index.path, encoder)
        [a, b] = store.get_nodes()
        assert (type(a), a.node_id, a.text, a.metadata, a.ref_doc_id) == (TextNode, "a", "amber birch", {"n": 1}, None)
        assert (b.node_id, b.ref_doc_id) == ("b", "doc")
        loaded = ColBERTIndex.from_vector_store(store)
        assert loaded.as_retriever().retrieve("birch")[0].node_id == "a"
        loaded.insert(LlamaDocument(id_="c", text="delta"))
        assert index.search("delta", 1)[0].ref_id == "c"
        loaded.delete_ref_doc("a")
        loaded.delete_ref_doc("doc")
        assert [document.text for document in index.find()] == ["delta"]
        store.client.close()


def test_a_document_of_the_core_is_refreshed_by_llama_index(tmp_path: Path, encoder):
    with Index.create(tmp_path / "index", encoder) as index:
        index.add([Document("a", "amber")])
    loaded = ColBERTIndex.load(tmp_path / "index", encoder)
    document = LlamaDocument(id_="a", text="birch")
    assert loaded.refresh_ref_docs([document]) == [True]
    assert [d.text for d in loaded.vector_store.client.find()] == ["birch"]
    assert loaded.refresh_ref_docs([document]) == [False]
    loaded.vector_store.client.close()


def test_langchain_and_llama_index_share_a_folder(handbook, encoder):
    langchain = pytest.importorskip("langchain_colbert_rag")
    store = langchain.ColBERTVectorStore(handbook.path, encoder)
    [found] = store.get_by_ids(["leave"])
    assert (found.page_content, found.metadata) == (
        "Every year has thirty days of paid leave.",
        {"year": 2020, "lang": "en"},
    )
    store.add_texts(["amber birch"], [{"n": 1}], ids=["more"])
    [node] = handbook.get_nodes(["more"])
    assert (node.text, node.metadata) == ("amber birch", {"n": 1})
    store.index.close()
