"""Query engines and chat engines on the index: the retrieved text is in the prompt, the evidence is not."""

from __future__ import annotations

import pytest
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.tools import QueryEngineTool
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
from llama_index_colbert_rag import ColBERTRerank, InvalidArgumentError
from pydantic import Field

QUESTION = "how many days of paid leave"
ANSWER = "Every year has thirty days of paid leave."


def new_memory() -> ChatMemoryBuffer:
    """Not the default memory, which leaves a database connection open."""
    return ChatMemoryBuffer.from_defaults(token_limit=3000)


@pytest.fixture
def engine(index):
    reranker = ColBERTRerank(top_n=1, encoder=index.vector_store.encoder, keep_retrieval_score=True)
    return index.as_query_engine(llm=MockLLM(), similarity_top_k=3, node_postprocessors=[reranker])


def test_a_query_engine_answers_from_the_best_node_alone(engine):
    answer = engine.query(QUESTION)
    assert ANSWER in str(answer)
    assert "notice period" not in str(answer)
    [source] = answer.source_nodes
    assert source.node.ref_doc_id == "leave"
    assert 0 < source.score <= 1
    assert source.passages[0].text == ANSWER


def test_neither_evidence_nor_scores_are_in_the_prompt(engine):
    prompt = str(engine.query(QUESTION))
    assert prompt.count(ANSWER) == 1
    assert not [word for word in ("passages", "matches", "score") if word in prompt]


async def test_a_query_engine_answers_the_same_asynchronously(engine):
    assert str(await engine.aquery(QUESTION)) == str(engine.query(QUESTION))


async def test_a_query_engine_streams(index):
    engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=1, streaming=True)
    pieces = list(engine.query(QUESTION).response_gen)
    assert len(pieces) > 10
    assert ANSWER in "".join(pieces)
    answer = await engine.aquery(QUESTION)
    assert ANSWER in "".join([piece async for piece in answer.async_response_gen()])


def test_options_of_the_retriever_and_of_the_engine_find_their_way(index):
    filters = MetadataFilters(filters=[MetadataFilter(key="lang", value="de")])
    engine = index.as_query_engine(llm=MockLLM(), filters=filters, similarity_top_k=9, response_mode="tree_summarize")
    assert [node.node.ref_doc_id for node in engine.query(QUESTION).source_nodes] == ["frist"]
    engine = index.as_query_engine(llm=MockLLM(), vector_store_query_mode="sparse", similarity_top_k=1)
    assert engine.query("Frist").source_nodes[0].node.ref_doc_id == "frist"


def test_a_retriever_query_engine_takes_the_retriever(index):
    engine = RetrieverQueryEngine.from_args(index.as_retriever(similarity_top_k=1), llm=MockLLM())
    assert ANSWER in str(engine.query(QUESTION))


def test_a_query_engine_is_a_tool(index):
    tool = QueryEngineTool.from_defaults(index.as_query_engine(llm=MockLLM(), similarity_top_k=1))
    assert ANSWER in str(tool.call(QUESTION))


@pytest.mark.parametrize("mode", [ChatMode.BEST, ChatMode.CONTEXT, ChatMode.CONDENSE_QUESTION])
async def test_a_chat_engine_answers_from_the_index(index, mode: ChatMode):
    engine = index.as_chat_engine(mode, llm=MockLLM(), memory=new_memory(), similarity_top_k=1)
    reply = engine.chat(QUESTION)
    assert ANSWER in str(reply)
    assert [node.node.ref_doc_id for node in reply.source_nodes] == ["leave"]
    assert ANSWER in str(await engine.achat(QUESTION))
    assert ANSWER in "".join(engine.stream_chat(QUESTION).response_gen)


def test_an_option_belongs_to_what_has_a_use_for_it(index):
    with pytest.raises(InvalidArgumentError, match="as_retriever takes no argument 'node_postprocessors'"):
        index.as_retriever(node_postprocessors=[])
    with pytest.raises(InvalidArgumentError, match="as_query_engine takes no argument 'memory'"):
        index.as_query_engine(llm=MockLLM(), memory=new_memory())
    with pytest.raises(InvalidArgumentError, match="Did you mean 'node_postprocessors'"):
        index.as_query_engine(llm=MockLLM(), node_postprocessor=[])
    for mode in (ChatMode.BEST, ChatMode.CONTEXT):
        with pytest.raises(InvalidArgumentError, match=f"mode '{mode.value}' takes no argument 'response_mode'"):
            index.as_chat_engine(mode, llm=MockLLM(), response_mode="compact")
    with pytest.raises(InvalidArgumentError, match="mode 'simple' takes no argument 'similarity_top_k'"):
        index.as_chat_engine(ChatMode.SIMPLE, llm=MockLLM(), similarity_top_k=3)
    with pytest.raises(InvalidArgumentError, match="LlamaIndex has removed this mode"):
        index.as_chat_engine(ChatMode.REACT, llm=MockLLM())


def test_a_condensing_chat_takes_options_of_its_query_engine(index):
    reranker = ColBERTRerank(top_n=1, encoder=index.vector_store.encoder)
    engine = index.as_chat_engine(
        ChatMode.CONDENSE_QUESTION,
        llm=MockLLM(),
        memory=new_memory(),
        similarity_top_k=3,
        node_postprocessors=[reranker],
        response_mode="tree_summarize",
    )
    assert [node.node.ref_doc_id for node in engine.chat(QUESTION).source_nodes] == ["leave"]


def test_a_simple_chat_asks_the_llm_alone(index):
    assert "hello" in str(index.as_chat_engine(ChatMode.SIMPLE, llm=MockLLM(), memory=new_memory()).chat("hello"))


class Recorder(BaseEventHandler):
    seen: list[str] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event, **kwargs) -> None:
        self.seen.append(event.class_name())


def test_events_come_in_order_reranking_between_retrieval_and_synthesis(engine):
    recorder = Recorder()
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(recorder)
    try:
        engine.query(QUESTION)
    finally:
        dispatcher.event_handlers.remove(recorder)
    wanted = ["RetrievalStartEvent", "RetrievalEndEvent", "ReRankStartEvent", "ReRankEndEvent", "SynthesizeStartEvent"]
    assert [name for name in recorder.seen if name in wanted] == wanted
