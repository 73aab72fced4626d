"""Questions on whole stories with LlamaIndex: the model reads their evidence, within a budget of tokens."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from llama_index.core import Document
from llama_index.core.llms import MockLLM
from llama_index.core.schema import MetadataMode
from llama_index_colbert_rag import ColBERTIndex, NodeWithEvidence

STORIES = Path(__file__).parent / "data" / "stories" / "corpus.jsonl.gz"
QUESTIONS = [
    "Why did the First Knight take a stone bowl from Kyoto?",
    "Where did the man leave his axe?",
    "Why was the jelly fish troubled by the mission?",
]

# any LLM of LlamaIndex in its place; this one repeats its prompt
llm = MockLLM()


def read_stories(ids: set[str]) -> list[Document]:
    with gzip.open(STORIES, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Document(id_=r["_id"], text=r["text"], metadata={"title": r["title"]}) for r in rows if r["_id"] in ids]


# no transformation cuts the stories: each is one node, encoded whole, from its first word to its last
index = ColBERTIndex.from_documents(
    read_stories({"bamboo-cutter-moon-child", "enchanted-wreath", "jelly-fish-and-monkey"}), transformations=[]
)
# node_postprocessors=[EvidenceContext(max_tokens=300)] is the same for engines and retrievers of your own
engine = index.as_query_engine(llm=llm, similarity_top_k=2, context_tokens=280)

for question in QUESTIONS:
    answer = engine.query(question)
    print(f"{question}\n  the prompt has {len(str(answer))} characters")
    for source in answer.source_nodes:
        assert isinstance(source, NodeWithEvidence)
        [whole] = index.vector_store.get_nodes([source.node_id])
        text = whole.get_content(MetadataMode.NONE)
        print(f"  {source.node_id}: {len(source.node.get_content())} of {len(text)} characters")
        for passage in source.passages:
            assert text[passage.start : passage.end] == passage.text
            print(f"    {passage.start:6}  {passage.text}")
