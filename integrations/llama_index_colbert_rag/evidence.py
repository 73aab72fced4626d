"""A retrieved node with the passages that answer the query."""

from __future__ import annotations

import sys

from llama_index.core.schema import BaseNode, IndexNode, NodeWithScore

from colbert_rag import Passage

__all__ = ["NodeWithEvidence", "with_evidence"]


class NodeWithEvidence(NodeWithScore):
    """A node, its score, and where in its text the evidence is.

    Evidence stands beside the node and not in its metadata: it reaches no prompt and no embedding, and the hash
    by which ``QueryFusionRetriever`` knows a node again stays what it was.

    Attributes:
        passages: Best first; offsets count in ``node.get_content(MetadataMode.NONE)``.
    """

    passages: tuple[Passage, ...] = ()

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised form."""
        return "NodeWithEvidence"


def with_evidence(node: BaseNode, score: float, passages: tuple[Passage, ...]) -> NodeWithEvidence:
    """A node with its score and its evidence."""
    if isinstance(node, IndexNode):
        # recursive retrieval takes a score of 0.0 for none and puts 1.0 in its place
        score = score or sys.float_info.min
    return NodeWithEvidence(node=node, score=score, passages=passages)
