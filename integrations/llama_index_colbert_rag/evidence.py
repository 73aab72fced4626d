"""A retrieved node with the passages that answer the query."""

from __future__ import annotations

import sys
from dataclasses import replace

from llama_index.core.schema import BaseNode, IndexNode, MetadataMode, NodeWithScore

from colbert_rag import Passage

__all__ = ["NodeWithEvidence", "as_evidence", "is_cut", "with_evidence"]


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


def as_evidence(found: NodeWithScore) -> NodeWithEvidence:
    """What something else has found, without passages; what has its evidence already stays as it is."""
    return found if isinstance(found, NodeWithEvidence) else NodeWithEvidence(node=found.node, score=found.score)


def _in_own_text(node: BaseNode, searched: str, passages: tuple[Passage, ...]) -> tuple[Passage, ...]:
    own = node.get_content(MetadataMode.NONE)
    if own == searched:
        return passages
    # templates put more around the text, and LlamaIndex strips what comes of them
    body = own.strip()
    start = searched.find(body) if body else -1
    if start < 0:
        return ()
    end, shift = start + len(body), own.index(body) - start
    clipped = (_clipped(passage, searched, start, end, shift) for passage in passages)
    return tuple(passage for passage in clipped if passage.text.strip())


def _clipped(passage: Passage, searched: str, start: int, end: int, shift: int) -> Passage:
    """What of a passage lies between two offsets, counted anew."""
    first, last = min(max(passage.start, start), end), max(min(passage.end, end), start)
    matches = tuple((max(a, first) + shift, min(b, last) + shift) for a, b in passage.matches if a < last and b > first)
    return replace(passage, start=first + shift, end=last + shift, text=searched[first:last], matches=matches)


def is_cut(found: NodeWithScore) -> bool:
    """Whether the text of a node is its evidence alone, in which the offsets of its passages do not count."""
    if not isinstance(found, NodeWithEvidence):
        return False
    text = found.node.get_content(MetadataMode.NONE)
    return any(text[passage.start : passage.end] != passage.text for passage in found.passages)
