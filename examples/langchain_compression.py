"""Rerank what any LangChain retriever finds, with late interaction and without an index.

ContextualCompressionRetriever needs a package beside the extra: pip install langchain-classic
"""

from __future__ import annotations

from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_colbert_rag import ColBERTReranker
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore

QUESTION = "What does a plant need to grow?"
TEXTS = {
    "factory": "The power plant was closed in 2011.",
    "company": "Growth of the company slowed down in spring.",
    "seedling": "Seedlings dislike wind. Light, water and minerals let them thrive. Pots are cheap.",
    "garden": "Plants need light, water and air to grow.",
}


def show(title: str, documents: list[Document]) -> None:
    print(title)
    for document in documents:
        score = document.metadata.get("relevance_score")
        passages = document.metadata.get("passages", [])
        print("  ", document.id, "" if score is None else f"{score:.2f}", *(passage["text"] for passage in passages))


# any retriever in its place; the vectors of this one are random, and so is its order
anything = InMemoryVectorStore(DeterministicFakeEmbedding(size=16))
anything.add_documents([Document(id=name, page_content=text) for name, text in TEXTS.items()])
retriever = anything.as_retriever(search_kwargs={"k": 4})

reranker = ColBERTReranker(top_n=2)
compressed = ContextualCompressionRetriever(base_retriever=retriever, base_compressor=reranker)
wrapped = reranker.wrap(retriever)  # the same, without langchain-classic

show("found", retriever.invoke(QUESTION))
show("reranked", compressed.invoke(QUESTION))
show("reranked by .wrap", wrapped.invoke(QUESTION))
