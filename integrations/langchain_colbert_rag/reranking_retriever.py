"""A LangChain retriever whose documents are compressed or reranked by something else."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import patch_config
from pydantic import ConfigDict

__all__ = ["RerankingRetriever"]

# evidence is of what comes out, and the other retriever's is replaced
_OF_THE_RERANKER = ("context_tokens", "passages", "passage_sentences")


class RerankingRetriever(BaseRetriever):
    """Reranks what another retriever finds; made by :meth:`ColBERTReranker.wrap`.

    Arguments and configuration of a call go to the other retriever, whose run is a child of this one's; but for
    ``context_tokens``, ``passages`` and ``passage_sentences``: a reranker that has them takes those for its own.

    Attributes:
        retriever: Any retriever, or another runnable from a query to documents.
        reranker: What orders its documents.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    retriever: Runnable[str, list[Document]]
    reranker: BaseDocumentCompressor

    def invoke(self, input: str, config: RunnableConfig | None = None, **call: Any) -> list[Document]:
        """Find and rerank, with the configuration handed on, which ``BaseRetriever.invoke`` does not do."""
        return super().invoke(input, config, run_config=config, **call)

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **call: Any) -> list[Document]:
        """:meth:`invoke` without blocking the event loop."""
        return await super().ainvoke(input, config, run_config=config, **call)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        run_config: RunnableConfig | None = None,
        **call: Any,
    ) -> list[Document]:
        child = run_manager.get_child()
        reranker, call = self._for(call)
        found = self.retriever.invoke(query, patch_config(run_config, callbacks=child), **call)
        return list(reranker.compress_documents(found, query, callbacks=child))

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        run_config: RunnableConfig | None = None,
        **call: Any,
    ) -> list[Document]:
        child = run_manager.get_child()
        reranker, call = self._for(call)
        found = await self.retriever.ainvoke(query, patch_config(run_config, callbacks=child), **call)
        return list(await reranker.acompress_documents(found, query, callbacks=child))

    def _for(self, call: dict[str, Any]) -> tuple[BaseDocumentCompressor, dict[str, Any]]:
        """The reranker that a call asks for, and what is left of its arguments."""
        names = [name for name in _OF_THE_RERANKER if name in type(self.reranker).model_fields]
        changes = {name: call[name] for name in names if call.get(name) is not None}
        rest = {name: value for name, value in call.items() if name not in names}
        return self.reranker.model_copy(update=changes), rest
