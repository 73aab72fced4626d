"""Nodes cut down to their evidence, within a budget of tokens."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import pickle
from pathlib import Path

import pytest
from llama_index.core import Document, MockEmbedding, PromptTemplate, Settings, VectorStoreIndex
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.llms import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import IndexNode, MetadataMode, NodeRelationship, NodeWithScore, RelatedNodeInfo, TextNode
from llama_index.core.utils import get_tokenizer
from llama_index_colbert_rag import (
    ColBERTIndex,
    ColBERTRerank,
    EvidenceContext,
    InvalidArgumentError,
    NodeWithEvidence,
)

from colbert_rag import InvalidQueryError, Passage, estimate_tokens

QUESTION = "who may end the contract"
EVIDENCE = "Either side may end the contract with ninety days of warning."
FILLER = [f"Clause {n} says nothing of interest." for n in range(700)]
STORIES = Path(__file__).parents[3] / "examples" / "data" / "stories" / "corpus.jsonl.gz"


def tokens(text: str) -> int:
    return len(get_tokenizer()(text))


def words(text: str) -> int:
    return len(text.split())


def new_memory() -> ChatMemoryBuffer:
    """Not the default memory, which leaves a database connection open."""
    return ChatMemoryBuffer.from_defaults(token_limit=3000)


@pytest.fixture
def archive(store, documents):
    """An index of whole documents, one of them long."""
    text = " ".join([*FILLER[:400], EVIDENCE, *FILLER[400:]])
    assert tokens(text) > 5_000
    index = ColBERTIndex.from_vector_store(store, transformations=[])
    index.refresh_ref_docs([*documents, Document(id_="contract", text=text, metadata={"drawer": "blue"})])
    return index


@pytest.fixture
def found(archive) -> list[NodeWithScore]:
    return archive.as_retriever(similarity_top_k=3, passages=20).retrieve(QUESTION)


@pytest.fixture(params=["sync", "async"])
def shorten(request: pytest.FixtureRequest):
    """Both ways to cut nodes down."""

    def run(context: EvidenceContext, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        if request.param == "sync":
            return context.postprocess_nodes(nodes, query_str=QUESTION)
        return asyncio.run(context.apostprocess_nodes(nodes, query_str=QUESTION))

    return run


def contents(nodes: list[NodeWithScore]) -> str:
    return "\n\n".join(node.node.get_content(MetadataMode.LLM) for node in nodes)


@pytest.mark.parametrize("budget", [50, 200])
def test_the_prompt_holds_the_evidence_and_not_the_rest_of_the_document(archive, budget):
    frame = "Context:\n{context_str}\nQuestion: {query_str}\nAnswer:"
    engine = archive.as_query_engine(
        llm=MockLLM(), similarity_top_k=3, context_tokens=budget, text_qa_template=PromptTemplate(frame)
    )
    prompt = str(engine.query(QUESTION))  # the fake model repeats its prompt
    assert EVIDENCE in prompt
    assert sum(clause in prompt for clause in FILLER) < 30
    assert tokens(prompt) <= budget + tokens(frame) + tokens(QUESTION)


async def test_a_query_engine_gives_the_same_asynchronously_and_names_the_source(archive):
    engine = archive.as_query_engine(llm=MockLLM(), similarity_top_k=3, context_tokens=100)
    answer = await engine.aquery(QUESTION)
    assert str(answer) == str(engine.query(QUESTION))
    [source] = [node for node in answer.source_nodes if node.node_id == "contract"]
    assert source.node.ref_doc_id == "contract"
    assert any(EVIDENCE in passage.text for passage in source.passages)


@pytest.mark.parametrize("mode", [ChatMode.CONTEXT, ChatMode.CONDENSE_PLUS_CONTEXT, ChatMode.CONDENSE_QUESTION])
def test_a_chat_engine_gives_the_evidence_alone(archive, mode):
    chat = archive.as_chat_engine(mode, llm=MockLLM(), memory=new_memory(), similarity_top_k=2, context_tokens=60)
    reply = chat.chat(QUESTION)
    assert tokens(contents(reply.source_nodes)) <= 60
    assert any(EVIDENCE in node.node.get_content() for node in reply.source_nodes)


def test_a_chat_without_retrieval_refuses_a_budget(archive):
    with pytest.raises(InvalidArgumentError, match="mode 'simple' takes no argument 'context_tokens'"):
        archive.as_chat_engine(ChatMode.SIMPLE, llm=MockLLM(), context_tokens=60)


def test_other_postprocessors_come_first_and_passages_can_be_given(archive, encoder):
    reranker = ColBERTRerank(top_n=1, passages=1, encoder=encoder)
    engine = archive.as_query_engine(llm=MockLLM(), context_tokens=60, node_postprocessors=[reranker])
    [source] = engine.query(QUESTION).source_nodes
    assert source.node.get_content() == EVIDENCE
    engine = archive.as_query_engine(llm=MockLLM(), context_tokens=60, similarity_top_k=1, passages=1)
    [source] = engine.query(QUESTION).source_nodes
    assert source.node.get_content() == EVIDENCE


def test_offsets_count_in_the_whole_node_that_the_store_gives(archive, found, shorten):
    short = shorten(EvidenceContext(max_tokens=80), found)
    [contract] = [node for node in short if node.node_id == "contract"]
    [whole] = archive.vector_store.get_nodes([contract.node_id])
    for passage in [*contract.passages, *contract.left_out]:
        assert whole.text[passage.start : passage.end] == passage.text
    assert contract.left_out
    assert contract.node.get_content() == " … ".join(passage.text for passage in contract.passages)
    assert contract.score == found[0].score


def test_the_budget_covers_all_nodes_with_the_metadata_that_a_model_reads(found, shorten):
    for budget in (30, 60, 200):
        short = shorten(EvidenceContext(max_tokens=budget), found)
        assert 0 < tokens(contents(short)) <= budget
    assert "drawer: blue" in contents(short)
    for node in found:
        node.node.excluded_llm_metadata_keys = list(node.node.metadata)
    longer = shorten(EvidenceContext(max_tokens=60), found)
    assert "drawer" not in contents(longer)


def test_nodes_passed_in_stay_as_they_are_and_share_nothing_that_changes(found, shorten):
    before = [node.model_copy(deep=True) for node in found]
    short = shorten(EvidenceContext(max_tokens=80), found)
    short[0].node.metadata["drawer"] = "red"
    short[0].node.relationships.clear()
    assert found == before


def test_ids_metadata_and_relationships_are_those_of_the_node(found, shorten):
    source = RelatedNodeInfo(node_id="book")
    following = RelatedNodeInfo(node_id="n2")
    node = TextNode(id_="n1", text="It rains. It snows.", metadata={"page": 3})
    node.relationships = {NodeRelationship.SOURCE: source, NodeRelationship.NEXT: following}
    given = NodeWithEvidence(node=node, score=0.5, passages=(Passage(10, 19, "It snows.", 2.0),))
    [short] = shorten(EvidenceContext(max_tokens=20), [given])
    assert type(short) is NodeWithEvidence
    assert short.node == node.model_copy(update={"text": "It snows."})
    assert (short.node.ref_doc_id, short.node.next_node.node_id) == ("book", "n2")


def test_a_node_without_passages_is_taken_whole_or_not_at_all(shorten, caplog):
    nodes = [NodeWithScore(node=TextNode(id_="a", text="Short text."), score=1.0)]
    nodes += [NodeWithScore(node=TextNode(id_="b", text=" ".join(FILLER)), score=0.9)]
    with caplog.at_level(logging.INFO, "colbert_rag.context"):
        [short] = shorten(EvidenceContext(max_tokens=50), nodes)
    assert (short.node_id, short.node.text) == ("a", "Short text.")
    assert caplog.messages == ["1 passages had no room in 50 tokens; documents left out: ['b']"]


def test_a_node_that_is_metadata_alone_and_an_index_node_pass_through(shorten):
    nodes = [
        NodeWithEvidence(node=TextNode(id_="a", text="", metadata={"title": "Notice periods"}), score=1.0),
        NodeWithEvidence(node=IndexNode(id_="b", text="See the annex.", index_id="annex", obj=MockLLM()), score=0.5),
    ]
    short = shorten(EvidenceContext(max_tokens=50), nodes)
    assert [node.node.get_content(MetadataMode.LLM).strip() for node in short] == [
        "title: Notice periods",
        "See the annex.",
    ]
    assert short[1].node.obj is nodes[1].node.obj


def test_it_works_behind_any_index_with_a_reranker_ahead(encoder, documents):
    text = " ".join([*FILLER[:30], EVIDENCE, *FILLER[30:60]])
    other = VectorStoreIndex.from_documents(
        [*documents, Document(id_="contract", text=text)], embed_model=MockEmbedding(embed_dim=4)
    )
    reranker = ColBERTRerank(top_n=2, passages=9, passage_sentences=3, encoder=encoder)
    engine = other.as_query_engine(
        llm=MockLLM(), similarity_top_k=9, node_postprocessors=[reranker, EvidenceContext(max_tokens=60)]
    )
    answer = engine.query(QUESTION)
    assert EVIDENCE in str(answer)
    assert tokens(contents(answer.source_nodes)) <= 60
    assert [node.node.ref_doc_id for node in answer.source_nodes][:1] == ["contract"]


def test_a_retriever_gives_passages_of_several_sentences(archive):
    retriever = archive.as_retriever(similarity_top_k=1, passage_sentences=3)
    [node] = retriever.retrieve(QUESTION)
    [passage] = node.passages
    assert EVIDENCE in passage.text
    assert passage.text.count(".") == 3


def test_tokens_are_counted_as_the_caller_says(found, shorten):
    short = shorten(EvidenceContext(max_tokens=13, count_tokens=words), found)
    assert sum(words(node.node.get_content(MetadataMode.LLM)) for node in short) <= 13
    assert any(EVIDENCE in node.node.get_content() for node in short)


def test_without_a_count_it_is_that_of_the_settings(found, shorten):
    before = Settings.tokenizer
    Settings.tokenizer = str.split
    try:
        short = shorten(EvidenceContext(max_tokens=13), found)
    finally:
        Settings.tokenizer = before
    assert short == shorten(EvidenceContext(max_tokens=13, count_tokens=words), found)


def test_a_budget_without_room_is_an_error_and_so_is_none(archive, found):
    with pytest.raises(InvalidQueryError, match="Allow at least"):
        EvidenceContext(max_tokens=1).postprocess_nodes(found)
    with pytest.raises(ValueError, match="max_tokens"):
        EvidenceContext(max_tokens=0)
    with pytest.raises(InvalidQueryError, match="at least 1, found 0"):
        archive.as_query_engine(llm=MockLLM(), context_tokens=0)
    assert EvidenceContext().postprocess_nodes([]) == []


def test_a_dict_and_a_pickle_make_an_equal_one(found):
    context = EvidenceContext(max_tokens=77)
    assert EvidenceContext.from_dict(context.to_dict()).max_tokens == 77
    counting = EvidenceContext(max_tokens=20, count_tokens=words)
    again = pickle.loads(pickle.dumps(counting))
    assert again.postprocess_nodes(found) == counting.postprocess_nodes(found)
    with pytest.raises(TypeError, match="cannot hold the count_tokens"):
        counting.to_dict()
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(EvidenceContext(count_tokens=lambda text: 1))


def test_the_estimate_of_the_core_is_not_below_what_a_language_model_counts():
    with gzip.open(STORIES, "rt", encoding="utf-8") as lines:
        stories = [json.loads(line)["text"] for line in lines]
    for story in stories:
        assert tokens(story) <= estimate_tokens(story) < 2 * tokens(story)


def test_evidence_may_be_cut_again(archive, found, shorten):
    once = shorten(EvidenceContext(max_tokens=400), found)
    twice = shorten(EvidenceContext(max_tokens=150), once)
    assert any(EVIDENCE in node.node.get_content() for node in twice)
    assert 0 < tokens(contents(twice)) <= 150
    [whole] = archive.vector_store.get_nodes(["contract"])
    [contract] = [node for node in twice if node.node_id == "contract"]
    assert contract.node.get_content() == " … ".join(passage.text for passage in contract.passages)
    for passage in [*contract.passages, *contract.left_out]:
        assert whole.text[passage.start : passage.end] == passage.text
    assert shorten(EvidenceContext(max_tokens=400), once) == once


def test_a_budget_beside_an_evidence_context_gives_the_llm_the_evidence(archive):
    both = archive.as_query_engine(
        llm=MockLLM(), similarity_top_k=2, context_tokens=200, node_postprocessors=[EvidenceContext(max_tokens=300)]
    )
    assert EVIDENCE in str(both.query(QUESTION))


def test_passages_that_are_not_in_their_node_are_refused(shorten):
    node = NodeWithEvidence(node=TextNode(id_="a", text="Another text."), passages=(Passage(40, 49, "It snows.", 1.0),))
    with pytest.raises(InvalidArgumentError, match="hit 'a': its text has '' from 40 to 49"):
        shorten(EvidenceContext(max_tokens=50), [node])


def test_a_reranker_behind_the_context_is_refused(encoder, found, shorten):
    short = shorten(EvidenceContext(max_tokens=80), found)
    with pytest.raises(InvalidArgumentError, match=r"'contract' has been cut .* ahead of EvidenceContext"):
        ColBERTRerank(encoder=encoder).postprocess_nodes(short, query_str=QUESTION)


def test_none_is_not_given_and_no_passages_are_refused(archive, encoder):
    as_engine = archive.as_query_engine
    default = as_engine(llm=MockLLM(), context_tokens=60)
    unset = as_engine(llm=MockLLM(), context_tokens=60, passages=None, passage_sentences=None)
    assert unset.retriever.passages == default.retriever.passages == 3
    with pytest.raises(InvalidQueryError, match="passages=0"):
        as_engine(llm=MockLLM(), context_tokens=60, passages=0)
    with pytest.raises(InvalidQueryError, match="found '2'"):
        as_engine(llm=MockLLM(), context_tokens=60, passage_sentences="2")
    reranked = as_engine(
        llm=MockLLM(), context_tokens=60, passages=0, node_postprocessors=[ColBERTRerank(encoder=encoder)]
    )
    assert EVIDENCE in str(reranked.query(QUESTION))
