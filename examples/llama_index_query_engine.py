"""Question answering with LlamaIndex: retrieve, rerank, answer, show where the answer is from."""

from __future__ import annotations

from llama_index.core import Document
from llama_index.core.llms import MockLLM
from llama_index_colbert_rag import ColBERTIndex, ColBERTRerank, NodeWithEvidence

HANDBOOK = {
    "notice": "Whoever leaves gives three months' notice. The form is on the intranet.",
    "leave": "Every year has thirty days of paid leave. Days that are left expire in March.",
    "remote": "Remote work is possible two days a week.",
}
QUESTION = "How long is the notice period?"

# any LLM of LlamaIndex in its place; this one repeats its prompt
llm = MockLLM()

# without a path the index lives in a temporary folder; with path="./handbook" it stays
index = ColBERTIndex.from_documents([Document(id_=name, text=text) for name, text in HANDBOOK.items()])
engine = index.as_query_engine(
    llm=llm,
    similarity_top_k=3,
    # the same postprocessor works behind any other index of LlamaIndex
    node_postprocessors=[ColBERTRerank(top_n=1, encoder=index.vector_store.encoder)],
)

answer = engine.query(QUESTION)
print(f"{answer}\n\nSources:")
for source in answer.source_nodes:
    assert isinstance(source, NodeWithEvidence)
    print(f"  {source.score:.2f}  {source.node.ref_doc_id:7}  {source.passages[0].text}")
