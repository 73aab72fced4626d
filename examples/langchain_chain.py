"""Question answering with LangChain: retrieve, prompt, stream the answer, show its sources."""

from __future__ import annotations

from itertools import cycle

from langchain_colbert_rag import ColBERTRetriever, ColBERTVectorStore
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

HANDBOOK = {
    "notice": "Whoever leaves gives three months' notice.",
    "leave": "Every year has thirty days of paid leave. Days that are left expire in March.",
    "remote": "Remote work is possible two days a week.",
}
QUESTION = "How long is the notice period?"

# any chat model of LangChain in its place, after pip install langchain: llm = init_chat_model("...")
llm = GenericFakeChatModel(messages=cycle([AIMessage("The notice period is three months.")]))


def joined(documents: list[Document]) -> str:
    return "\n".join(document.page_content for document in documents)


# without a path the index lives in a temporary folder; with path="./handbook" it stays
store = ColBERTVectorStore.from_texts(HANDBOOK.values(), ids=list(HANDBOOK))
retriever = ColBERTRetriever(store=store, k=2)
prompt = ChatPromptTemplate.from_template("Answer from this text alone:\n{context}\n\nQuestion: {question}")
chain = {"context": retriever | joined, "question": RunnablePassthrough()} | prompt | llm | StrOutputParser()

for piece in chain.stream(QUESTION):
    print(piece, end="", flush=True)
print("\n\nSources:")
for document in retriever.invoke(QUESTION):
    [passage] = document.metadata["passages"]
    print(f"  {document.metadata['relevance_score']:.2f}  {document.id:7}  {passage['text']}")
