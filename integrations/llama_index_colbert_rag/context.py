"""A LlamaIndex postprocessor that leaves the evidence of nodes, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.callbacks import CallbackManager
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from llama_index.core.utils import get_tokenizer

from colbert_rag import Excerpt, Hit, Passage, build_context
from llama_index_colbert_rag.evidence import NodeWithEvidence, is_cut

__all__ = ["EvidenceContext"]

# what an excerpt has where text is left out
_GAP = " … "
_ABSENT = "\0"


class EvidenceContext(BaseNodePostprocessor):
    """Leaves of each node the passages that answer the query, as many as a budget has room for.

    The passages of all nodes are taken best first, each whole; one that does not fit is left out and a smaller one
    may still fit. Those of one node stand in text order, with " … " where text between them is left out. Nodes keep
    their order. What an LLM reads of a node is counted, metadata and all, with the blank line after it.

    It gives new :class:`NodeWithEvidence` around copies of the nodes: with another text, with the ids, metadata and
    relationships that they had, so that the store gives the whole node and ``ref_doc_id`` its source. What is passed
    in stays as it is. The text of a node without passages is one passage, the last to be taken. A node of which
    nothing fits is left out, and so is said to the log, at level INFO.

    A node that has been cut by another one may be cut again: its passages are then those that it holds.

    Passages come from :class:`ColBERTRetriever` or :class:`ColBERTRerank`: ask them for several.

    Args:
        max_tokens: The budget over all nodes.
        count_tokens: How many tokens a text has; None to count as ``Settings.tokenizer`` does.
        callback_manager: None for a new one.

    Raises:
        InvalidQueryError: when it is used, if no passage fits in the budget.
        InvalidArgumentError: when it is used, if passages are not in the text of their node.

    Example::

        retriever = index.as_retriever(similarity_top_k=5, passages=20, passage_sentences=3)
        RetrieverQueryEngine.from_args(retriever, llm, node_postprocessors=[EvidenceContext(max_tokens=1500)])
    """

    max_tokens: int = Field(default=1500, ge=1, strict=True, description="Tokens that all nodes may take together.")

    _given: Callable[[str], int] | None = PrivateAttr()

    def __init__(
        self,
        max_tokens: int = 1500,
        *,
        count_tokens: Callable[[str], int] | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        fields: dict[str, Any] = {"max_tokens": max_tokens}
        super().__init__(**fields, callback_manager=callback_manager or CallbackManager())
        self._given = count_tokens

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised form."""
        return "EvidenceContext"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        hits = [_hit(n, found) for n, found in enumerate(nodes)]

        def as_read(hit: Hit, text: str) -> str:
            return _with_text(nodes[hit.extra].node, text).get_content(MetadataMode.LLM)

        context = build_context(hits, self.max_tokens, count_tokens=self._given or _count_tokens, render=as_read)
        return [_shortened(nodes[excerpt.hit.extra], excerpt) for excerpt in context.excerpts]

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """The arguments, from which ``from_dict`` makes an equal one.

        Raises:
            TypeError: it was made with ``count_tokens``, which a dict cannot hold.
        """
        if self._given is not None:
            msg = "A dict cannot hold the count_tokens of this EvidenceContext. Set Settings.tokenizer, or pickle it."
            raise TypeError(msg)
        return super().to_dict(**kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # LlamaIndex would drop a function that cannot be pickled, and go on with another count
        return partial(type(self), self.max_tokens, count_tokens=self._given), ()


def _count_tokens(text: str) -> int:
    return len(get_tokenizer()(text))


def _hit(n: int, found: NodeWithScore) -> Hit:
    passages = found.passages if isinstance(found, NodeWithEvidence) else ()
    text = found.node.get_content(MetadataMode.NONE)
    if is_cut(found) and text == _GAP.join(passage.text for passage in passages):
        text = _in_their_places(passages)
    return Hit(found.node_id, 0.0, text, {}, passages, extra=n)


def _in_their_places(passages: tuple[Passage, ...]) -> str:
    """A stand-in for the whole text, with the passages at their offsets and a sign for each character between them."""
    text = ""
    for passage in passages:
        text += _ABSENT * (passage.start - len(text)) + passage.text
    return text


def _shortened(found: NodeWithScore, excerpt: Excerpt) -> NodeWithEvidence:
    node = _with_text(found.node, excerpt.evidence)
    before = found.left_out if isinstance(found, NodeWithEvidence) else ()
    left_out = tuple(sorted([*before, *excerpt.left_out], key=lambda passage: -passage.score))
    return NodeWithEvidence(node=node, score=found.score, passages=excerpt.passages, left_out=left_out)


def _with_text(node: BaseNode, text: str) -> BaseNode:
    changes = {"metadata": dict(node.metadata), "relationships": dict(node.relationships)}
    copy = node.model_copy(update=changes)
    copy.set_content(text)
    return copy
