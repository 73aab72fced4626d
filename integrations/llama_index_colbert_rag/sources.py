"""Which source document a node was cut from, and what that looked like then."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo
from llama_index.core.schema import Document as LlamaDocument

from colbert_rag import Document
from llama_index_colbert_rag.nodes import content_of, kept_json

__all__ = ["hashes", "source_hash", "with_sources", "with_text"]

logger = logging.getLogger(__name__)


def hashes(documents: Sequence[LlamaDocument]) -> dict[str, str]:
    """The hash of each document by its id."""
    return {document.id_: document.hash for document in documents}


def with_sources(nodes: Sequence[BaseNode], known: Mapping[str, str]) -> list[BaseNode]:
    """Nodes whose source says the hash of the document as it was given.

    A splitter notes the hash of what it got, which is another one where a transformation ahead of it changed the
    document. A document that no transformation cut is its own source.

    Args:
        nodes: What transformations made of documents.
        known: Of :func:`hashes`, before the transformations.
    """
    return [_with_source(node, known) for node in nodes]


def _with_source(node: BaseNode, known: Mapping[str, str]) -> BaseNode:
    source = node.source_node or RelatedNodeInfo(node_id=node.node_id, node_type=node.get_type())
    given = known.get(source.node_id)
    if given is None or (node.source_node is not None and source.hash == given):
        return node
    stamped = source.model_copy(update={"hash": given})
    return node.model_copy(update={"relationships": {**node.relationships, NodeRelationship.SOURCE: stamped}})


def source_hash(document: Document) -> str | None:
    """The hash that :func:`with_sources` noted; None where there is none."""
    kept = kept_json(document) or {}
    source = kept.get("relationships", {}).get(NodeRelationship.SOURCE.value)
    return source.get("hash") if isinstance(source, Mapping) else None


def with_text(nodes: Sequence[BaseNode]) -> list[BaseNode]:
    """Nodes that have something to be found by; the others, such as empty pages, are left out with a warning."""
    kept = [node for node in nodes if content_of(node)[1].strip()]
    if len(kept) < len(nodes):
        ids = {node.node_id for node in nodes} - {node.node_id for node in kept}
        logger.warning("%d nodes without text and metadata are left out: %s", len(ids), ", ".join(sorted(ids)))
    return kept
