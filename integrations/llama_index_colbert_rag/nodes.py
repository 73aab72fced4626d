"""Nodes of LlamaIndex as documents of the core, and the reverse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.schema import (
    BaseNode,
    ImageDocument,
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.schema import Document as LlamaDocument

from colbert_rag import Document, Hit, InvalidDocumentError

__all__ = ["content_of", "kept_json", "to_document", "to_node"]

_KEPT_AS = "llama_index"

_CLASSES: dict[str, type[BaseNode]] = {
    known.class_name(): known for known in (TextNode, Node, IndexNode, ImageNode, LlamaDocument, ImageDocument)
}

# what the other fields of a Document hold, and what the core makes itself
_STORED_ELSEWHERE: dict[str, Any] = {"id_": True, "metadata": True, "embedding": True}
_TEXT: dict[str, Any] = {"text": True, "text_resource": {"text"}}


def content_of(node: BaseNode) -> tuple[str, str]:
    """The heading and the text that a node is searched by: its content as an embedding model would get it.

    The heading is what ``MetadataMode.EMBED`` puts ahead of the text. Where a template puts the text elsewhere,
    and where there is metadata but no text, the whole of it is the text.
    """
    text, embedded = node.get_content(MetadataMode.NONE), node.get_content(MetadataMode.EMBED).rstrip()
    # with metadata, LlamaIndex strips what follows the text
    body = text.rstrip()
    if body and embedded.endswith(body):
        return embedded.removesuffix(body).strip(), text
    return "", embedded


def to_document(node: BaseNode) -> Document:
    """A node as the core keeps it; :func:`to_node` makes an equal one of it.

    Not kept are the embedding, and bytes in a ``MediaResource``, which LlamaIndex leaves out of every JSON. A node of a
    class that LlamaIndex does not have comes back as a ``TextNode``, without the fields that its class added.

    Raises:
        InvalidDocumentError: a part of the node is not what JSON can hold.
    """
    heading, text = content_of(node)
    is_own_text = text == node.get_content(MetadataMode.NONE)
    try:
        kept = node.model_dump(mode="json", exclude=_STORED_ELSEWHERE | (_TEXT if is_own_text else {}))
        ref_id = node.ref_doc_id
    except ValueError as err:
        msg = f"node {node.node_id!r} cannot be written as JSON: {str(err).rstrip('.')}. Nothing was written."
        raise InvalidDocumentError(msg) from err
    return Document(node.node_id, text, node.metadata, heading=heading, ref_id=ref_id, extra={_KEPT_AS: kept})


def kept_json(found: Document | Hit) -> Mapping[str, Any] | None:
    """The JSON of the node that a document was made of; None where LlamaIndex did not add it."""
    return found.extra.get(_KEPT_AS) if isinstance(found.extra, Mapping) else None


def to_node(found: Document | Hit) -> BaseNode:
    """The node that a document was made of; a ``TextNode`` where the core or LangChain added it."""
    kept = kept_json(found)
    if kept is None:
        return TextNode(id_=found.id, text=found.text, metadata=dict(found.metadata), relationships=_source(found))
    made = _CLASSES.get(kept["class_name"], TextNode)
    data = {**kept, "id_": found.id, "metadata": dict(found.metadata)}
    if issubclass(made, Node):
        data.pop("text", None)
        if data.get("text_resource") is not None:
            data["text_resource"] = {"text": found.text, **data["text_resource"]}
    else:
        data.setdefault("text", found.text)
    return made.from_dict(data)


def _source(found: Document | Hit) -> dict[NodeRelationship, Any]:
    return {} if found.ref_id is None else {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=found.ref_id)}
