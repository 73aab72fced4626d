"""colbert_rag in LangChain: planned, not here yet.

This package will hold ``ColBERTRetriever``, ``ColBERTVectorStore`` and ``ColBERTReranker``. Until
then it exports nothing, so that an import of one of these names fails at once.
"""

__all__: list[str] = []
