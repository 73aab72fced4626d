"""A retriever with metadata filters in a query engine: only what matches is ranked, and only that can be cited."""

from __future__ import annotations

from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index_colbert_rag import ColBERTIndex

NODES = [
    TextNode(
        id_="old", text="The notice period is one month.", metadata={"year": 2015, "lang": "en", "tags": ["work"]}
    ),
    TextNode(
        id_="new", text="The notice period is three months.", metadata={"year": 2024, "lang": "en", "tags": ["work"]}
    ),
    TextNode(id_="neu", text="Die Kündigungsfrist beträgt drei Monate.", metadata={"year": 2024, "lang": "de"}),
    TextNode(
        id_="rent",
        text="Notice to the landlord takes a quarter.",
        metadata={"year": 2023, "lang": "en", "tags": ["home"]},
    ),
]
RECENT = MetadataFilter(key="year", value=2020, operator=FilterOperator.GTE)
ENGLISH = MetadataFilter(key="lang", value="en")
AT_HOME = MetadataFilter(key="tags", value="home", operator=FilterOperator.CONTAINS)

# any LLM of LlamaIndex in its place; this one repeats its prompt
llm = MockLLM()
index = ColBERTIndex(NODES)


def ask(filters: MetadataFilters | None) -> list[str]:
    retriever = index.as_retriever(similarity_top_k=4, filters=filters)
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm)
    return [source.node_id for source in engine.query("How long is the notice period?").source_nodes]


print("everything        ", ask(None))
print("recent and English", ask(MetadataFilters(filters=[RECENT, ENGLISH])))
# filters nest: recent, and not about the home
not_home = MetadataFilters(filters=[AT_HOME], condition=FilterCondition.NOT)
print("recent, not home  ", ask(MetadataFilters(filters=[RECENT, not_home])))
