"""A LlamaIndex postprocessor that orders by exact MaxSim."""

from __future__ import annotations

from functools import partial
from typing import Any

from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle

from colbert_rag import Document, Encoder, InvalidArgumentError, InvalidQueryError, Reranker, TextEncoder
from llama_index_colbert_rag.evidence import is_cut, with_evidence
from llama_index_colbert_rag.nodes import content_of

__all__ = ["ColBERTRerank"]

dispatcher = get_dispatcher(__name__)

_SCORE = "retrieval_score"


class ColBERTRerank(BaseNodePostprocessor):
    """Orders the nodes of any retriever by late interaction with the query, exactly.

    It gives new :class:`NodeWithEvidence` around the same nodes; what is passed in stays as it is. The score is
    MaxSim by the number of query vectors, from 0 to 1. Equal scores keep the order of the input; nodes without text
    come last, with a score of 0. The model loads at the first use.

    Args:
        model: The name or path of a late-interaction model; None for the built-in model.
        top_n: How many nodes are returned.
        device: Where the model runs; None for the best there is.
        keep_retrieval_score: Put the score that a node came with into the metadata of a copy, as
            ``retrieval_score``, out of sight of prompts and embeddings.
        passages: Evidence passages per node.
        passage_sentences: Sentences in a row that make a passage.
        encoder: An encoder in place of ``model`` and ``device``, such as that of an index.
        callback_manager: Told of every reranking.

    Raises:
        InvalidArgumentError: an encoder together with a model or a device; when it is used, a node that an
            :class:`EvidenceContext` has cut to its evidence.

    Example::

        index.as_query_engine(similarity_top_k=30, node_postprocessors=[ColBERTRerank(top_n=5)])
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    model: str | None = Field(default=None, description="Name or path of the model; None for the built-in one.")
    top_n: int = Field(default=3, ge=1, description="Number of nodes to return.")
    device: str | None = Field(default=None, description="Device that the model runs on.")
    keep_retrieval_score: bool = Field(default=False, description="Whether to keep the retrieval score in metadata.")
    passages: int = Field(default=1, ge=0, description="Evidence passages per node.")
    passage_sentences: int = Field(default=1, ge=1, description="Sentences in a row that make a passage.")

    _given: TextEncoder | None = PrivateAttr()
    _encoder: TextEncoder = PrivateAttr()

    def __init__(
        self,
        model: str | None = None,
        top_n: int = 3,
        device: str | None = None,
        keep_retrieval_score: bool = False,
        *,
        passages: int = 1,
        passage_sentences: int = 1,
        encoder: TextEncoder | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        if encoder is not None and not (model is None and device is None):
            msg = "ColBERTRerank takes an encoder, or a model and a device: an encoder has both already."
            raise InvalidArgumentError(msg)
        fields: dict[str, Any] = {
            "model": model,
            "top_n": top_n,
            "device": device,
            "keep_retrieval_score": keep_retrieval_score,
            "passages": passages,
            "passage_sentences": passage_sentences,
        }
        super().__init__(**fields, callback_manager=callback_manager or CallbackManager())
        self._given = encoder
        chosen = Encoder(model, device=device) if encoder is None else encoder
        self._encoder = Reranker(chosen, device="cpu").encoder

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised form."""
        return "ColBERTRerank"

    @property
    def encoder(self) -> TextEncoder:
        """What makes the vectors."""
        return self._encoder

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            msg = "ColBERTRerank needs a query: pass query_str= or query_bundle=."
            raise InvalidQueryError(msg)
        if not nodes:
            return []
        _check_whole(nodes)
        name = self.model or str(getattr(self._encoder, "name", type(self._encoder).__name__))
        dispatcher.event(ReRankStartEvent(query=query_bundle, nodes=nodes, top_n=self.top_n, model_name=name))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query_bundle.query_str,
            EventPayload.TOP_K: self.top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            ranked = self._ranked(nodes, query_bundle.query_str)
            event.on_end(payload={EventPayload.NODES: ranked})
        dispatcher.event(ReRankEndEvent(nodes=ranked))
        return ranked

    def _ranked(self, nodes: list[NodeWithScore], query: str) -> list[NodeWithScore]:
        contents = [content_of(node.node) for node in nodes]
        with_text = [n for n, (_, text) in enumerate(contents) if text.strip()]
        documents = [Document(str(n), contents[n][1], heading=contents[n][0]) for n in with_text]
        # for one query and the nodes of one retrieval nothing is worth moving
        order = Reranker(self._encoder, device="cpu").rerank(
            query, documents, self.top_n, passages=self.passages, passage_sentences=self.passage_sentences
        )
        ranked: list[NodeWithScore] = [
            with_evidence(self._shown(nodes[i]), found.relevance, contents[i][1], found.passages)
            for found in order
            for i in [with_text[found.position]]
        ]
        blank = [with_evidence(self._shown(nodes[n]), 0.0, "", ()) for n in range(len(nodes)) if n not in with_text]
        return [*ranked, *blank][: self.top_n]

    def _shown(self, found: NodeWithScore) -> BaseNode:
        node = found.node
        if not self.keep_retrieval_score:
            return node
        changes = {
            "metadata": {**node.metadata, _SCORE: found.score},
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, _SCORE],
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, _SCORE],
        }
        return node.model_copy(update=changes)

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """The arguments, from which ``from_dict`` makes an equal one.

        Raises:
            TypeError: it was made with an encoder object, which a dict cannot hold.
        """
        if self._given is not None:
            made = type(self._given).__name__
            msg = f"A dict cannot hold the {made} of this ColBERTRerank. Make it with model= a name, or pickle it."
            raise TypeError(msg)
        return super().to_dict(**kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # LlamaIndex would drop an encoder that cannot be pickled, and go on with the built-in model
        arguments = {name: getattr(self, name) for name in type(self).model_fields if name != "callback_manager"}
        return partial(type(self), **arguments, encoder=self._given), ()


def _check_whole(nodes: list[NodeWithScore]) -> None:
    for found in nodes:
        if is_cut(found):
            msg = (
                f"node {found.node_id!r} has been cut to its evidence already, so passages of what is left would have "
                "no place in the whole node. Put ColBERTRerank ahead of EvidenceContext."
            )
            raise InvalidArgumentError(msg)
