"""A LangChain document compressor that orders by exact MaxSim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import ConfigDict, Field, field_validator

from colbert_rag import Reranker, passages_to_fill
from langchain_colbert_rag.arguments import check_encoder
from langchain_colbert_rag.context import Found, check_whole, shown
from langchain_colbert_rag.reranking_retriever import RerankingRetriever

__all__ = ["ColBERTReranker"]


class ColBERTReranker(BaseDocumentCompressor):
    """Orders the documents of any retriever by late interaction with the query, exactly.

    It returns copies that keep their id, with ``relevance_score`` and ``passages`` in their metadata as
    :class:`ColBERTRetriever` describes them, and with ``context_tokens`` cut down to their evidence as there; the
    documents passed in stay as they are. Equal scores keep the order of the input. Blank documents come last, with a
    relevance of 0; with ``context_tokens`` they are left out. The model loads at the first use.

    Attributes:
        encoder: An encoder, the name or path of a late-interaction model, or None for the built-in model.
        top_n: How many documents are returned; None for all.
        passages: Evidence passages per document; None for 1, or with ``context_tokens`` for as many as may fill it.
        passage_sentences: Sentences in a row that make a passage.
        context_tokens: The tokens that ``page_content`` of all documents may take; None for whole documents.
        count_tokens: How many tokens a text has, such as ``llm.get_num_tokens``; None for an estimate.

    Example::

        ContextualCompressionRetriever(base_retriever=any_retriever, base_compressor=ColBERTReranker(top_n=5))
        ColBERTReranker(top_n=5).wrap(any_retriever)  # the same, without langchain-classic
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)

    encoder: Any = Field(default=None, validate_default=True)
    top_n: int | None = Field(default=3, ge=1)
    passages: int | None = Field(default=None, ge=0)
    passage_sentences: int = Field(default=1, ge=1)
    context_tokens: int | None = Field(default=None, ge=1, strict=True)
    count_tokens: Callable[[str], int] | None = None

    @field_validator("encoder")
    @classmethod
    def _one_encoder_for_all_calls(cls, encoder: Any) -> Any:
        check_encoder(encoder)
        return Reranker(encoder, device="cpu").encoder

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The best documents, best first.

        Args:
            documents: What another retriever has found.
            query: Not blank.
            callbacks: Not used: there are no inner runs.

        Raises:
            InvalidQueryError: the query is refused, or no passage fits in ``context_tokens``.
            InvalidDocumentError: a text is refused.
            InvalidArgumentError: a document has been cut to its evidence already, by ``context_tokens`` of a retriever.
        """
        check_whole(documents)
        with_text = [document for document in documents if document.page_content.strip()]
        # for one query and the documents of one retrieval nothing is worth moving
        ranked = Reranker(self.encoder, device="cpu").rerank(
            query,
            [document.page_content for document in with_text],
            self.top_n,
            passages=self._n_passages(),
            passage_sentences=self.passage_sentences,
        )
        found = [Found(with_text[r.position], r.relevance, r.passages) for r in ranked]
        if self.context_tokens is None:
            # a blank document has no evidence to fill a context with
            found += [Found(document, 0.0, ()) for document in documents if not document.page_content.strip()]
        return shown(found[: self.top_n], self.context_tokens, self.count_tokens)

    def _n_passages(self) -> int:
        if self.context_tokens is not None:
            return passages_to_fill(self.context_tokens, self.passage_sentences, self.passages)
        return 1 if self.passages is None else self.passages

    def wrap(self, retriever: Runnable[str, list[Document]], top_n: int | None = None) -> RerankingRetriever:
        """A retriever that reranks what another one finds.

        Args:
            retriever: Any retriever; it should find more documents than are wanted in the end.
            top_n: In place of the reranker's own; None for that.
        """
        reranker = self if top_n is None else type(self).model_validate({**dict(self), "top_n": top_n})
        return RerankingRetriever(retriever=retriever, reranker=reranker)

    def as_runnable(self) -> Runnable[dict[str, Any], list[Document]]:
        """A runnable from ``{"documents": [...], "query": "..."}`` to the best documents."""

        def rerank(given: dict[str, Any]) -> list[Document]:
            return self.compress_documents(**given)

        async def arerank(given: dict[str, Any]) -> list[Document]:
            return list(await self.acompress_documents(**given))

        return RunnableLambda(rerank, arerank, name="ColBERTReranker")
