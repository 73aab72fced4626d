from __future__ import annotations

import pytest
from llama_index.core import Document
from llama_index_colbert_rag import InvalidArgumentError
from llama_index_colbert_rag.refreshing import HeldNodes, transformation_options

SAME = Document(id_="same", text="a")
OTHER = Document(id_="other", text="b")
NEW = Document(id_="new", text="c")
HELD = HeldNodes({"same": {SAME.hash}, "other": {"old"}, "new": set()})


def test_a_document_changed_if_it_is_new_or_any_node_is_of_another_version():
    assert [HELD.is_changed(document) for document in (SAME, OTHER, NEW)] == [False, True, True]
    half = HeldNodes({"same": {SAME.hash, "old"}})
    assert half.is_changed(SAME), "nodes of two versions are replaced"
    assert HeldNodes({"same": {None}}).is_changed(SAME)


def test_documents_of_one_id_are_replaced_together():
    twin = Document(id_="same", text="another text")
    assert HELD.changed([SAME, OTHER]) == [OTHER]
    assert HELD.changed([SAME, twin]) == [SAME, twin]


def test_what_the_index_holds_is_looked_up_by_source(index, documents):
    held = HeldNodes.of([*documents, NEW], index.vector_store.client)
    assert held.hashes["new"] == set()
    assert [held.hashes[d.id_] for d in documents] == [{d.hash} for d in documents]


def test_options_for_transformations_are_found_and_others_refused():
    assert transformation_options({"insert_kwargs": {"a": 1}, "delete_kwargs": {"b": 2}}) == {"a": 1}
    assert transformation_options({}) == {}
    with pytest.raises(InvalidArgumentError, match="takes no argument 'insert'"):
        transformation_options({"insert": {}})
