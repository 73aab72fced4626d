from __future__ import annotations

import logging

from llama_index.core import Document
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import IndexNode, NodeRelationship, TextNode
from llama_index_colbert_rag.nodes import to_document
from llama_index_colbert_rag.sources import hashes, source_hash, with_sources, with_text

from colbert_rag import Document as CoreDocument

GIVEN = Document(id_="doc", text="One. Two.", metadata={"a": 1})


def test_a_splitter_s_nodes_stay_as_they_are():
    nodes = SentenceSplitter().get_nodes_from_documents([GIVEN])
    assert [after is before for after, before in zip(with_sources(nodes, hashes([GIVEN])), nodes, strict=True)] == [
        True
    ]
    assert source_hash(to_document(nodes[0])) == GIVEN.hash


def test_the_hash_is_that_of_the_document_as_it_was_given():
    cleaned = Document(id_="doc", text="One.")
    [node] = SentenceSplitter().get_nodes_from_documents([cleaned])
    [stamped] = with_sources([node], hashes([GIVEN]))
    assert stamped.source_node.hash == GIVEN.hash != node.source_node.hash == cleaned.hash
    assert source_hash(to_document(stamped)) == GIVEN.hash
    relationships = {k: v for k, v in stamped.relationships.items() if k is not NodeRelationship.SOURCE}
    assert relationships == {k: v for k, v in node.relationships.items() if k is not NodeRelationship.SOURCE}


def test_a_whole_document_is_its_own_source():
    [stamped] = with_sources([GIVEN], hashes([GIVEN]))
    assert (stamped.ref_doc_id, stamped.source_node.hash) == ("doc", GIVEN.hash)
    assert GIVEN.source_node is None


def test_a_node_of_something_else_stays_as_it_is():
    node = IndexNode(text="a", index_id="b")
    assert with_sources([node], hashes([GIVEN]))[0] is node


def test_what_others_added_has_no_hash():
    assert source_hash(CoreDocument("a", "One.", ref_id="doc")) is None
    assert source_hash(to_document(TextNode(text="One."))) is None


def test_nodes_without_anything_to_be_found_by_are_left_out_with_a_warning(caplog):
    kept = [TextNode(text="a"), TextNode(text="", metadata={"page": 3})]
    with caplog.at_level(logging.WARNING, logger="llama_index_colbert_rag.sources"):
        assert with_text(kept) == kept
        assert not caplog.records
        assert with_text([*kept, TextNode(id_="blank", text=" ")]) == kept
    assert caplog.messages == ["1 nodes without text and metadata are left out: blank"]
