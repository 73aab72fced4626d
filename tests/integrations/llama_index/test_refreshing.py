from __future__ import annotations

import pytest
from llama_index.core import Document
from llama_index.core.schema import TextNode
from llama_index_colbert_rag import InvalidArgumentError
from llama_index_colbert_rag.refreshing import HeldNodes, transformation_options

SAME = Document(id_="same", text="a")
OTHER = Document(id_="other", text="b")
NEW = Document(id_="new", text="c")
HELD = HeldNodes({"same": {"n1": SAME.hash, "n2": SAME.hash}, "other": {"n3": "old", "n4": "old"}, "new": {}})


def test_a_document_changed_if_it_is_new_or_any_node_is_of_another_version():
    assert [HELD.is_changed(document) for document in (SAME, OTHER, NEW)] == [False, True, True]
    half = HeldNodes({"same": {"n1": SAME.hash, "n2": "old"}})
    assert half.is_changed(SAME), "an update that was interrupted is done again"
    assert HeldNodes({"same": {"n1": None}}).is_changed(SAME)


def test_documents_of_one_id_are_replaced_together():
    twin = Document(id_="same", text="another text")
    assert HELD.changed([SAME, OTHER]) == [OTHER]
    assert HELD.changed([SAME, twin]) == [SAME, twin]


def test_stale_is_what_no_new_node_replaces():
    assert HELD.stale([OTHER, NEW], [TextNode(id_="n3", text="b"), TextNode(id_="n9", text="b")]) == ["n4"]
    assert HELD.stale([], []) == []


def test_what_the_index_holds_is_looked_up_by_source(index, documents):
    held = HeldNodes.of([*documents, NEW], index.vector_store.client)
    assert held.hashes["new"] == {}
    assert [list(held.hashes[d.id_].values()) for d in documents] == [[d.hash] for d in documents]


def test_options_for_transformations_are_found_and_others_refused():
    assert transformation_options({"insert_kwargs": {"a": 1}, "delete_kwargs": {"b": 2}}) == {"a": 1}
    assert transformation_options({}) == {}
    with pytest.raises(InvalidArgumentError, match="takes no argument 'insert'"):
        transformation_options({"insert": {}})
