"""A node comes back from the index as it went in, whatever class it has."""

from __future__ import annotations

import pytest
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index_colbert_rag.nodes import content_of, to_document, to_node

from colbert_rag import Document as CoreDocument
from colbert_rag import InvalidDocumentError

RELATED = {
    NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc", node_type="4", metadata={"a": 1}, hash="h"),
    NodeRelationship.NEXT: RelatedNodeInfo(node_id="next", node_type="1", hash="i"),
    NodeRelationship.CHILD: [RelatedNodeInfo(node_id="c1"), RelatedNodeInfo(node_id="c2")],
}
FULL = {
    "id_": "n1",
    "metadata": {"year": 2024, "tags": ["a", "b"], "nested": {"x": None, "y": 1.5}, "z": "é", "b": True},
    "excluded_embed_metadata_keys": ["tags"],
    "excluded_llm_metadata_keys": ["nested"],
    "relationships": RELATED,
    "metadata_template": "<{key}> {value}",
    "metadata_separator": " | ",
}
PICTURE = MediaResource(url="https://a/b.png")
COLON = "{metadata_str}: {content}"

NODES: dict[str, BaseNode] = {
    "text": TextNode(text="One. Two.", start_char_idx=3, end_char_idx=12, mimetype="text/x", **FULL),
    "bare": TextNode(id_="n1", text="One."),
    "trailing blanks": TextNode(text=" One. \n\n", **FULL),
    "other template": TextNode(text="One.", text_template="{content} ({metadata_str})", **FULL),
    "only metadata": TextNode(text="", **FULL),
    "node": Node(
        text_resource=MediaResource(text="One.", mimetype="text/x"), text_template="{metadata_str}: {content}", **FULL
    ),
    "node with media": Node(
        text_resource=MediaResource(text="One."), image_resource=MediaResource(url="https://a/b.png"), **FULL
    ),
    "document": Document(text="One. Two.", **FULL),
    "image": ImageNode(text="A cat.", image="aGk=", image_path="a/b.png", text_embedding=[0.5], **FULL),
    "image document": ImageDocument(text="A cat.", image_resource=PICTURE, **FULL),
    "index": IndexNode(text="About b.", index_id="b", **FULL),
    "index with node": IndexNode(
        text="About b.", index_id="b", obj=TextNode(id_="b", text="B", relationships=RELATED), **FULL
    ),
}


@pytest.mark.parametrize("name", NODES)
def test_a_node_comes_back_equal_through_the_index(store, name: str):
    node = NODES[name]
    store.add([node])
    [found] = store.get_nodes([node.node_id])
    assert type(found) is type(node)
    expected = node.model_dump()
    assert found.model_dump() == expected
    assert list(found.metadata) == list(node.metadata), "the hash of a node depends on the order"
    assert found.hash == node.hash
    assert found.ref_doc_id == node.ref_doc_id


def test_the_embedding_is_not_kept(store):
    store.add([TextNode(id_="a", text="One.", embedding=[1.0])])
    assert store.get_nodes(["a"])[0].embedding is None


@pytest.mark.parametrize("name", NODES)
def test_heading_and_text_together_are_what_an_embedding_model_would_get(name: str):
    heading, text = content_of(NODES[name])
    assert f"{heading} {text}".split() == NODES[name].get_content(MetadataMode.EMBED).split()


def test_the_metadata_stands_in_the_heading_and_the_text_in_the_text():
    node = TextNode(text="One.", metadata={"year": 2024, "secret": 1}, excluded_embed_metadata_keys=["secret"])
    assert content_of(node) == ("year: 2024", "One.")


def test_without_metadata_there_is_no_heading():
    assert content_of(TextNode(text=" One. ")) == ("", " One. ")


def test_where_the_template_moves_the_text_the_whole_is_the_text():
    node = TextNode(text="One.", metadata={"year": 2024}, text_template="{content} ({metadata_str})")
    assert content_of(node) == ("", "One. (year: 2024)")


def test_the_text_is_stored_once():
    kept = str(to_document(TextNode(text="unmistakable")).extra) + str(to_document(Document(text="unmistakable")).extra)
    assert "unmistakable" not in kept


def test_what_others_added_comes_back_as_a_text_node():
    found = to_node(CoreDocument("a", "One.", {"year": 1}, heading="Title", ref_id="doc"))
    assert type(found) is TextNode
    assert (found.node_id, found.text, found.metadata, found.ref_doc_id) == ("a", "One.", {"year": 1}, "doc")
    assert to_node(CoreDocument("a", "One.", extra={"other": "adapter"})).ref_doc_id is None


class OwnNode(TextNode):
    @classmethod
    def class_name(cls) -> str:
        return "OwnNode"


def test_a_class_that_is_not_known_comes_back_as_a_text_node():
    found = to_node(to_document(OwnNode(id_="a", text="One.", metadata={"b": 1})))
    assert type(found) is TextNode
    assert (found.node_id, found.text, found.metadata) == ("a", "One.", {"b": 1})


def test_what_json_cannot_hold_is_refused_with_the_node_named(store):
    loose = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc", metadata={"a": object()})}
    with pytest.raises(
        InvalidDocumentError, match=r"node number 0 \('n1', of document 'doc'\) cannot be written as JSON"
    ):
        store.add([TextNode(id_="n1", text="One.", relationships=loose)])
    with pytest.raises(InvalidDocumentError, match=r"node number 0 \('n1'\) cannot be written as JSON"):
        store.add([IndexNode(id_="n1", text="One.", index_id="b", obj=object())])
    with pytest.raises(InvalidDocumentError, match=r"metadata\['when'\] is a set"):
        store.add([TextNode(id_="n1", text="One.", metadata={"when": {1}})])
    assert len(store.client) == 0
