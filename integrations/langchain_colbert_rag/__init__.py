"""colbert_rag in LangChain: a vector store, a retriever, a reranker and a filter translator.

All of them work on the folder of a ``colbert_rag.Index``, which the core and the LlamaIndex adapter open too.
"""

from __future__ import annotations

from colbert_rag import InvalidArgumentError, MissingDependencyError

try:
    import langchain_core  # noqa: F401
except ModuleNotFoundError as err:
    if err.name != "langchain_core":
        raise
    msg = "langchain_colbert_rag needs langchain-core. Run: pip install 'late-interaction-rag[langchain]'"
    raise MissingDependencyError(msg) from err

from langchain_colbert_rag.filters import ColBERTTranslator
from langchain_colbert_rag.reranker import ColBERTReranker
from langchain_colbert_rag.reranking_retriever import RerankingRetriever
from langchain_colbert_rag.retriever import ColBERTRetriever
from langchain_colbert_rag.vectorstore import ColBERTVectorStore

__all__ = [
    "ColBERTReranker",
    "ColBERTRetriever",
    "ColBERTTranslator",
    "ColBERTVectorStore",
    "InvalidArgumentError",
    "RerankingRetriever",
]
