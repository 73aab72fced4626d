"""colbert_rag in LlamaIndex: planned, not here yet.

This package will hold ``ColBERTRetriever``, ``ColBERTRerank``, ``ColBERTVectorStore`` and
``ColBERTIndex``. Until then it exports nothing, so that an import of one of these names fails at once.
"""

__all__: list[str] = []
