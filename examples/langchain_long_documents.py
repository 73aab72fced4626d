"""Questions on whole stories with LangChain: the model reads their evidence, within a budget of tokens."""

from __future__ import annotations

import gzip
import json
from itertools import cycle
from pathlib import Path

from langchain_colbert_rag import ColBERTRetriever, ColBERTVectorStore
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

STORIES = Path(__file__).parent / "data" / "stories" / "corpus.jsonl.gz"
QUESTIONS = {
    "Why did the First Knight take a stone bowl from Kyoto?": "He had not the courage to go to India.",
    "Where did the man leave his axe?": "In the forest.",
    "Why was the jelly fish troubled by the mission?": "He had never caught a monkey.",
}

# any chat model of LangChain in its place: llm = init_chat_model("..."), and count_tokens=llm.get_num_tokens below
llm = GenericFakeChatModel(messages=cycle([AIMessage(answer) for answer in QUESTIONS.values()]))


def read_stories(ids: set[str]) -> list[Document]:
    with gzip.open(STORIES, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        Document(id=r["_id"], page_content=r["text"], metadata={"title": r["title"]}) for r in rows if r["_id"] in ids
    ]


def cited(documents: list[Document]) -> str:
    return "\n\n".join(f"[{document.id}] {document.page_content}" for document in documents)


# each story is one document, encoded whole, from its first word to its last
store = ColBERTVectorStore.from_documents(
    read_stories({"bamboo-cutter-moon-child", "enchanted-wreath", "jelly-fish-and-monkey"})
)
retriever = ColBERTRetriever(store=store, k=2, context_tokens=300)
prompt = ChatPromptTemplate.from_template("Answer from this text alone:\n{context}\n\nQuestion: {question}")
chain = {"context": retriever | cited, "question": RunnablePassthrough()} | prompt | llm | StrOutputParser()

for question in QUESTIONS:
    print(f"{question}\n  {chain.invoke(question)}")
    for document in retriever.invoke(question):
        assert document.id is not None
        [whole] = store.get_by_ids([document.id])
        print(f"  {document.id}: {len(document.page_content)} of {len(whole.page_content)} characters")
        for passage in document.metadata["passages"]:
            assert whole.page_content[passage["start"] : passage["end"]] == passage["text"]
            print(f"    {passage['start']:6}  {passage['text']}")
