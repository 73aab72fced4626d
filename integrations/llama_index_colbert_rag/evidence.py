"""A retrieved node with the passages that answer the query."""

from __future__ import annotations

import sys
from dataclasses import replace

from llama_index.core.schema import BaseNode, IndexNode, MetadataMode, NodeWithScore

from colbert_rag import Passage

__all__ = ["NodeWithEvidence", "with_evidence"]


class NodeWithEvidence(NodeWithScore):
    """A node, its score, and where in its text the evidence is.

    Evidence stands beside the node and not in its metadata: it reaches no prompt and no embedding, and the hash
    by which ``QueryFusionRetriever`` knows a node again stays what it was.

    Attributes:
        passages: Best first; offsets count in ``node.get_content(MetadataMode.NONE)``. Evidence that is in the metadata
            alone has none. After an :class:`EvidenceContext`, what the text is made of, in text order; offsets count
            in the text of the whole node.
        left_out: Passages for which an :class:`EvidenceContext` had no room, best first.
    """

    passages: tuple[Passage, ...] = ()
    left_out: tuple[Passage, ...] = ()

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised form."""
        return "NodeWithEvidence"


def with_evidence(node: BaseNode, score: float, searched: str, passages: tuple[Passage, ...]) -> NodeWithEvidence:
    """A node with its score and its evidence.

    Args:
        node: What was found.
        score: What it is ranked by.
        searched: The text that it was searched by, in which the offsets of the passages count.
        passages: Best first.
    """
    if isinstance(node, IndexNode):
        # recursive retrieval takes a score of 0.0 for none and puts 1.0 in its place
        score = score or sys.float_info.min
    return NodeWithEvidence(node=node, score=score, passages=_in_own_text(node, searched, passages))


def _in_own_text(node: BaseNode, searched: str, passages: tuple[Passage, ...]) -> tuple[Passage, ...]:
    own = node.get_content(MetadataMode.NONE)
    if own == searched:
        return passages
    # templates put more around the text, and LlamaIndex strips what comes of them
    body = own.strip()
    start = searched.find(body) if body else -1
    if start < 0:
        return ()
    shift = own.index(body) - start
    return tuple(_shifted(p, shift) for p in passages if start <= p.start and p.end <= start + len(body))


def _shifted(passage: Passage, by: int) -> Passage:
    matches = tuple((start + by, end + by) for start, end in passage.matches)
    return replace(passage, start=passage.start + by, end=passage.end + by, matches=matches)
