"""colbert_rag in LlamaIndex: an index, a vector store, a retriever, a reranker, evidence within a budget, a marker.

All of them work on the folder of a ``colbert_rag.Index``, which the core and the LangChain adapter open too.
"""

from __future__ import annotations

from colbert_rag import InvalidArgumentError, MissingDependencyError

try:
    import llama_index.core  # noqa: F401
except ModuleNotFoundError as err:
    if err.name not in ("llama_index", "llama_index.core"):
        raise
    msg = "llama_index_colbert_rag needs llama-index-core. Run: pip install 'late-interaction-rag[llama-index]'"
    raise MissingDependencyError(msg) from err

from llama_index_colbert_rag.context import EvidenceContext
from llama_index_colbert_rag.evidence import NodeWithEvidence
from llama_index_colbert_rag.index import ColBERTIndex
from llama_index_colbert_rag.marker import LateInteractionMarker
from llama_index_colbert_rag.rerank import ColBERTRerank
from llama_index_colbert_rag.retriever import ColBERTRetriever
from llama_index_colbert_rag.vectorstore import ColBERTVectorStore

__all__ = [
    "ColBERTIndex",
    "ColBERTRerank",
    "ColBERTRetriever",
    "ColBERTVectorStore",
    "EvidenceContext",
    "InvalidArgumentError",
    "LateInteractionMarker",
    "NodeWithEvidence",
]
