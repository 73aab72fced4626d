"""A LangChain retriever whose documents are compressed or reranked by something else."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from pydantic import ConfigDict

__all__ = ["RerankingRetriever"]


class RerankingRetriever(BaseRetriever):
    """Reranks what another retriever finds; made by :meth:`ColBERTReranker.wrap`.

    Arguments of a call go to the other retriever, whose run is a child of this one's.

    Attributes:
        retriever: Any retriever, or another runnable from a query to documents.
        reranker: What orders its documents.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    retriever: Runnable[str, list[Document]]
    reranker: BaseDocumentCompressor

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **call: Any
    ) -> list[Document]:
        child = run_manager.get_child()
        found = self.retriever.invoke(query, {"callbacks": child}, **call)
        return list(self.reranker.compress_documents(found, query, callbacks=child))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **call: Any
    ) -> list[Document]:
        child = run_manager.get_child()
        found = await self.retriever.ainvoke(query, {"callbacks": child}, **call)
        return list(await self.reranker.acompress_documents(found, query, callbacks=child))
