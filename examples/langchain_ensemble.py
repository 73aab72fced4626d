"""Words and meaning together: LangChain's EnsembleRetriever over two modes of one index, and the built-in hybrid.

EnsembleRetriever needs a package beside the extra: pip install langchain-classic
"""

from __future__ import annotations

from langchain_classic.retrievers import EnsembleRetriever
from langchain_colbert_rag import ColBERTRetriever, ColBERTVectorStore

PARTS = {
    "KX-7709": "Sealing ring for the outlet, part number KX-7709.",
    "KX-7790": "Sealing ring for the inlet, part number KX-7790.",
    "drip": "What to do when water drips from the machine: replace the seal below the tank.",
    "noise": "The pump hums while it heats. That is normal.",
}

store = ColBERTVectorStore.from_texts(PARTS.values(), ids=list(PARTS))
words = ColBERTRetriever(store=store, mode="bm25", k=3)
meaning = ColBERTRetriever(store=store, mode="maxsim", k=3)
ensemble = EnsembleRetriever(retrievers=[words, meaning], weights=[0.5, 0.5])
hybrid = ColBERTRetriever(store=store, mode="hybrid", k=3)  # the same idea in one search

for question in ("leaking coffee maker", "KX-7790"):
    print(question)
    for name, retriever in (("words", words), ("meaning", meaning), ("ensemble", ensemble), ("hybrid", hybrid)):
        print(f"  {name:8}  {', '.join(str(document.id) for document in retriever.invoke(question)[:3])}")
