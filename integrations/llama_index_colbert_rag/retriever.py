"""A LlamaIndex retriever on a late-interaction index."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle, QueryType
from llama_index.core.vector_stores.types import MetadataFilters, VectorStoreQuery, VectorStoreQueryMode

from colbert_rag import Hit, InvalidQueryError
from llama_index_colbert_rag.arguments import check_type, id_list
from llama_index_colbert_rag.evidence import NodeWithEvidence, as_evidence, with_evidence
from llama_index_colbert_rag.nodes import to_node
from llama_index_colbert_rag.search import SearchTerms
from llama_index_colbert_rag.vectorstore import ColBERTVectorStore

__all__ = ["ColBERTRetriever"]


class ColBERTRetriever(BaseRetriever):
    """Finds nodes by late interaction, by words, or by both, with the passages that answer the query.

    It gives :class:`NodeWithEvidence`; what an ``IndexNode`` leads to may have no passages. The score is what the nodes
    are ranked by: for late interaction MaxSim by the number of query vectors, from 0 to 1, which
    ``SimilarityPostprocessor(similarity_cutoff=...)`` can cut; BM25 or the fused score in the other modes.

    Several embedding strings of a query (HyDE) are one query made of all their token vectors; by words, their
    texts in a row. Async retrievals that run at the same time share one forward pass.

    Args:
        vector_store: Where to look.
        similarity_top_k: How many nodes.
        filters: Which nodes may be found, decided before anything is ranked.
        node_ids: Only these nodes; an empty list restricts nothing.
        doc_ids: Only nodes of these source documents; an empty list restricts nothing.
        mode: As in :meth:`ColBERTVectorStore.query`.
        alpha: In mode ``hybrid``, the share of late interaction in the score, 0 to 1; None for 0.7.
        mmr_threshold: In mode ``mmr``, 1 for relevance alone, 0 for the greatest diversity; None for 0.5.
        passages: Evidence passages per node.
        passage_sentences: Sentences in a row that make a passage.
        locality: 0 scores a node by all of its tokens; towards 1, its best place has this share in the score of a long
            node, which decides the order; scores from 0 to 1 stay those of all tokens. Not in the modes by words.
        callback_manager: Told of every retrieval.
        object_map: What ``IndexNode`` leads to, by ``index_id``.
        objects: The same as nodes.
        verbose: Print what recursive retrieval does.

    Raises:
        InvalidArgumentError: another store, or ids that are no list of str.
        InvalidQueryError: another mode, or ``alpha``, ``mmr_threshold`` or ``locality`` where the mode has no use
            for it.
        InvalidFilterError: the filters are refused.

    Example::

        retriever = ColBERTRetriever(ColBERTVectorStore("./handbook"), similarity_top_k=5)
        for found in retriever.retrieve("how long is the notice period?"):
            print(f"{found.score:.2f}", found.passages[0].text)
    """

    def __init__(
        self,
        vector_store: ColBERTVectorStore,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
        *,
        filters: MetadataFilters | None = None,
        node_ids: Sequence[str] | None = None,
        doc_ids: Sequence[str] | None = None,
        mode: VectorStoreQueryMode | str = VectorStoreQueryMode.DEFAULT,
        alpha: float | None = None,
        mmr_threshold: float | None = None,
        passages: int = 1,
        passage_sentences: int = 1,
        locality: float = 0.0,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        objects: list[IndexNode] | None = None,
        verbose: bool = False,
    ) -> None:
        check_type("ColBERTRetriever: vector_store", vector_store, ColBERTVectorStore)
        self.vector_store = vector_store
        self.similarity_top_k = similarity_top_k
        self.filters = filters
        self.node_ids = node_ids
        self.doc_ids = doc_ids
        self.mode = mode
        self.alpha = alpha
        self.mmr_threshold = mmr_threshold
        self.passages = passages
        self.passage_sentences = passage_sentences
        self.locality = locality
        self._terms()
        super().__init__(callback_manager=callback_manager, object_map=object_map, objects=objects, verbose=verbose)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        texts, terms = _texts(query_bundle), self._terms()
        if len(texts) > 1 and terms.mode == "maxsim":
            return _found(self._search_together(texts, terms), terms)
        index, text = self.vector_store.client, "\n".join(texts)
        return _found(index.search(text, terms.k, mode=terms.mode, filter=terms.filter, config=terms.config), terms)

    if TYPE_CHECKING:
        # a method here would be a second span in every trace; of these types are what the two methods below return
        def retrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithEvidence]:  # type: ignore[override]
            """Nodes that answer a query, best first."""

        async def aretrieve(self, str_or_query_bundle: QueryType) -> list[NodeWithEvidence]:  # type: ignore[override]
            """:meth:`retrieve` without blocking the event loop."""

    # the last step of BaseRetriever, in which nodes of other retrievers and engines come in
    def _handle_recursive_retrieval(self, query_bundle: QueryBundle, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        return [as_evidence(found) for found in super()._handle_recursive_retrieval(query_bundle, nodes)]

    async def _ahandle_recursive_retrieval(
        self, query_bundle: QueryBundle, nodes: list[NodeWithScore]
    ) -> list[NodeWithScore]:
        return [as_evidence(found) for found in await super()._ahandle_recursive_retrieval(query_bundle, nodes)]

    # BaseRetriever passes the query by this name
    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        texts, terms = _texts(query_bundle), self._terms()
        if len(texts) > 1 and terms.mode == "maxsim":
            return _found(await asyncio.to_thread(self._search_together, texts, terms), terms)
        index, text = self.vector_store.client, "\n".join(texts)
        hits = await index.asearch(text, terms.k, mode=terms.mode, filter=terms.filter, config=terms.config)
        return _found(hits, terms)

    def _terms(self) -> SearchTerms:
        query = VectorStoreQuery(
            similarity_top_k=self.similarity_top_k,
            mode=self.mode,  # type: ignore[arg-type]
            filters=self.filters,
            node_ids=id_list("node_ids", self.node_ids),
            doc_ids=id_list("doc_ids", self.doc_ids),
            alpha=self.alpha,
            mmr_threshold=self.mmr_threshold,
        )
        return SearchTerms.of(
            query, passages=self.passages, passage_sentences=self.passage_sentences, locality=self.locality
        )

    def _search_together(self, texts: list[str], terms: SearchTerms) -> list[Hit]:
        index = self.vector_store.client
        vectors = np.concatenate(index.encoder.encode_queries(texts))
        return index.search_vectors([vectors], terms.k, filter=terms.filter, config=terms.config)[0]


def _texts(query: QueryBundle) -> list[str]:
    texts = query.embedding_strs
    if not texts:
        msg = "the query has no text: late interaction needs query_str or custom_embedding_strs."
        raise InvalidQueryError(msg)
    return texts


def _found(hits: Sequence[Hit], terms: SearchTerms) -> list[NodeWithScore]:
    return [with_evidence(to_node(hit), terms.score_of(hit), hit.text, hit.passages) for hit in hits]
