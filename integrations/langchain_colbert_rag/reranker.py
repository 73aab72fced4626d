"""A LangChain document compressor that orders by exact MaxSim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import ConfigDict, Field, field_validator

from colbert_rag import Reranker
from langchain_colbert_rag.arguments import check_encoder
from langchain_colbert_rag.documents import with_evidence
from langchain_colbert_rag.reranking_retriever import RerankingRetriever

__all__ = ["ColBERTReranker"]


class ColBERTReranker(BaseDocumentCompressor):
    """Orders the documents of any retriever by late interaction with the query, exactly.

    It returns copies that keep their id, with ``relevance_score`` and ``passages`` in their metadata as
    :class:`ColBERTRetriever` describes them; the documents passed in stay as they are. Equal scores keep
    the order of the input. The model loads at the first use.

    Attributes:
        encoder: An encoder, the name or path of a late-interaction model, or None for the built-in model.
        top_n: How many documents are returned; None for all.
        passages: Evidence passages per document.

    Example::

        ContextualCompressionRetriever(base_retriever=any_retriever, base_compressor=ColBERTReranker(top_n=5))
        ColBERTReranker(top_n=5).wrap(any_retriever)  # the same, without langchain-classic
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)

    encoder: Any = Field(default=None, validate_default=True)
    top_n: int | None = Field(default=3, ge=1)
    passages: int = Field(default=1, ge=0)

    @field_validator("encoder")
    @classmethod
    def _one_encoder_for_all_calls(cls, encoder: Any) -> Any:
        check_encoder(encoder)
        return Reranker(encoder).encoder

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The best documents, best first.

        Args:
            documents: With text that is not blank.
            query: Not blank.
            callbacks: Not used: there are no inner runs.

        Raises:
            InvalidQueryError: the query is refused.
            InvalidDocumentError: a text is refused.
        """
        texts = [document.page_content for document in documents]
        ranked = Reranker(self.encoder).rerank(query, texts, self.top_n, passages=self.passages)
        return [with_evidence(documents[r.position], r.relevance, r.passages) for r in ranked]

    def wrap(self, retriever: Runnable[str, list[Document]], top_n: int | None = None) -> RerankingRetriever:
        """A retriever that reranks what another one finds.

        Args:
            retriever: Any retriever; it should find more documents than are wanted in the end.
            top_n: In place of the reranker's own; None for that.
        """
        reranker = self if top_n is None else type(self)(encoder=self.encoder, top_n=top_n, passages=self.passages)
        return RerankingRetriever(retriever=retriever, reranker=reranker)

    def as_runnable(self) -> Runnable[dict[str, Any], list[Document]]:
        """A runnable from ``{"documents": [...], "query": "..."}`` to the best documents."""

        def rerank(given: dict[str, Any]) -> list[Document]:
            return self.compress_documents(**given)

        async def arerank(given: dict[str, Any]) -> list[Document]:
            return list(await self.acompress_documents(**given))

        return RunnableLambda(rerank, arerank, name="ColBERTReranker")
