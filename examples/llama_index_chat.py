"""A chat about the documents of an index, with a memory, streamed."""

from __future__ import annotations

from llama_index.core import Document
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index_colbert_rag import ColBERTIndex, NodeWithEvidence

HANDBOOK = {
    "notice": "Whoever leaves gives three months' notice.",
    "leave": "Every year has thirty days of paid leave. Days that are left expire in March.",
    "remote": "Remote work is possible two days a week.",
}

# any LLM of LlamaIndex in its place; this one says "text" four times
llm = MockLLM(max_tokens=4)

index = ColBERTIndex.from_documents([Document(id_=name, text=text) for name, text in HANDBOOK.items()])
chat = index.as_chat_engine(
    ChatMode.CONTEXT,
    llm=llm,
    memory=ChatMemoryBuffer.from_defaults(token_limit=3000),
    system_prompt="You know the handbook of the company.",
    similarity_top_k=1,
)

for question in ("How long is the notice period?", "What happens to leave that is left in March?"):
    reply = chat.stream_chat(question)
    print(f"you:    {question}\nanswer: ", end="")
    for piece in reply.response_gen:
        print(piece, end="", flush=True)
    [source] = reply.source_nodes
    assert isinstance(source, NodeWithEvidence)
    print(f"\nsource: {source.node.ref_doc_id}, {source.passages[0].text}")
print("messages in memory:", len(chat.chat_history))
