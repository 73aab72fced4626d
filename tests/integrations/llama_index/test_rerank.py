from __future__ import annotations

import asyncio
import pickle

import pytest
from llama_index.core import MockEmbedding, Settings, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.llms import MockLLM
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index_colbert_rag import ColBERTRerank, InvalidArgumentError, NodeWithEvidence
from llama_index_colbert_rag.nodes import content_of

from colbert_rag import InvalidQueryError, ModelMismatchError, Reranker
from colbert_rag.testing import HashEncoder

QUERY = "thirty days of leave"


@pytest.fixture
def found(pages) -> list[NodeWithScore]:
    """The pages as another retriever found them, the best one third."""
    return [
        NodeWithScore(node=node, score=score) for node, score in zip(pages[2:] + pages[:2], (9, 8, 7, 6), strict=True)
    ]


@pytest.fixture(params=["sync", "async"])
def rerank(request: pytest.FixtureRequest):
    """Both ways to rerank."""

    def run(reranker: ColBERTRerank, nodes: list[NodeWithScore], query: str = QUERY) -> list[NodeWithScore]:
        if request.param == "sync":
            return reranker.postprocess_nodes(nodes, query_str=query)
        return asyncio.run(reranker.apostprocess_nodes(nodes, query_str=query))

    return run


def test_the_order_and_the_scores_are_those_of_exact_maxsim(encoder, found, rerank):
    texts = ["\n\n".join(content_of(node.node)) for node in found]
    expected = Reranker(encoder).rerank(QUERY, texts, 3)
    ranked = rerank(ColBERTRerank(encoder=encoder), found)
    assert [(r.node_id, r.score) for r in ranked] == [(found[e.position].node_id, e.relevance) for e in expected]
    assert all(type(r) is NodeWithEvidence and type(r.score) is float for r in ranked)
    assert all(0 <= r.score <= 1 for r in ranked)


def test_the_score_is_the_one_that_the_index_gives(handbook, found, rerank):
    by_id = {r.node_id: r.score for r in rerank(ColBERTRerank(top_n=9, encoder=handbook.encoder), found)}
    hits = handbook.client.search(QUERY, 9)
    assert by_id == pytest.approx({hit.id: hit.relevance for hit in hits}, abs=1e-3)


def test_what_is_passed_in_stays_as_it_is(encoder, found, rerank):
    before = [node.model_copy(deep=True) for node in found]
    for keep in (False, True):
        ranked = rerank(ColBERTRerank(encoder=encoder, keep_retrieval_score=keep), found)
        assert found == before
        assert not {id(r) for r in ranked} & {id(f) for f in found}


def test_evidence_counts_in_the_text_and_leaves_metadata_out(encoder, rerank):
    node = TextNode(
        text="Some words. Thirty days of leave. The end.", metadata={"leave": "thirty days of leave", "b": 1}
    )
    [ranked] = rerank(ColBERTRerank(encoder=encoder, passages=2), [NodeWithScore(node=node)])
    assert ranked.passages[0].text.strip() == "Thirty days of leave."
    assert len(ranked.passages) == 2
    for passage in ranked.passages:
        assert node.text[passage.start : passage.end] == passage.text
        assert all(passage.start <= start < end <= passage.end for start, end in passage.matches)
    assert {node.text[start:end].lower() for start, end in ranked.passages[0].matches} <= {
        "thirty",
        "days",
        "of",
        "leave",
    }
    assert rerank(ColBERTRerank(encoder=encoder, passages=0), [NodeWithScore(node=node)])[0].passages == ()


def test_the_retrieval_score_is_kept_out_of_sight(encoder, found, rerank):
    [best] = rerank(ColBERTRerank(top_n=1, encoder=encoder, keep_retrieval_score=True), found)
    assert best.metadata["retrieval_score"] == 6
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert best.get_content(mode) == found[3].get_content(mode)
    [bare] = rerank(ColBERTRerank(top_n=1, encoder=encoder), found)
    assert bare.node is found[3].node


def test_nodes_without_text_come_last_and_not_in_the_way(encoder, found, rerank):
    blank = NodeWithScore(node=TextNode(id_="blank", text=""), score=99)
    ranked = rerank(ColBERTRerank(top_n=9, encoder=encoder), [blank, *found])
    assert (ranked[-1].node_id, ranked[-1].score, len(ranked)) == ("blank", 0.0, 5)
    assert [r.node_id for r in rerank(ColBERTRerank(encoder=encoder), [blank])] == ["blank"]


def test_equal_scores_keep_their_order(encoder, rerank):
    nodes = [NodeWithScore(node=TextNode(id_=f"n{n}", text="same words")) for n in range(5)]
    assert [r.node_id for r in rerank(ColBERTRerank(top_n=5, encoder=encoder), nodes, "same")] == [
        f"n{n}" for n in range(5)
    ]


def test_nothing_in_nothing_out_and_no_query_is_an_error(encoder, found, rerank):
    assert rerank(ColBERTRerank(encoder=encoder), []) == []
    with pytest.raises(InvalidQueryError, match="ColBERTRerank needs a query"):
        ColBERTRerank(encoder=encoder).postprocess_nodes(found)
    with pytest.raises(InvalidQueryError, match="blank"):
        rerank(ColBERTRerank(encoder=encoder), found, " ")


def test_all_nodes_are_encoded_in_one_pass(slow_encoder, found):
    calls = []
    encode = slow_encoder.encode_documents
    slow_encoder.encode_documents = lambda texts, **options: calls.append(len(texts)) or encode(texts, **options)
    ColBERTRerank(encoder=slow_encoder).postprocess_nodes(found, query_str=QUERY)
    assert (calls, slow_encoder.passes) == ([4], 1)


def test_callbacks_are_told_what_went_in_and_what_came_out(encoder, found, rerank):
    handler = LlamaDebugHandler(print_trace_on_end=False)
    reranker = ColBERTRerank(top_n=2, encoder=encoder, callback_manager=CallbackManager([handler]))
    ranked = rerank(reranker, found)
    [(start, end)] = handler.get_event_pairs(CBEventType.RERANKING)
    assert start.payload == {
        EventPayload.NODES: found,
        EventPayload.MODEL_NAME: "HashEncoder",
        EventPayload.QUERY_STR: QUERY,
        EventPayload.TOP_K: 2,
    }
    assert end.payload == {EventPayload.NODES: ranked}


def test_it_reranks_what_any_index_finds(pages, encoder):
    other = VectorStoreIndex(pages, embed_model=MockEmbedding(embed_dim=4))
    engine = other.as_query_engine(
        llm=MockLLM(), similarity_top_k=4, node_postprocessors=[ColBERTRerank(top_n=1, encoder=encoder)]
    )
    answer = engine.query(QUERY)
    assert [node.node_id for node in answer.source_nodes] == ["leave"]
    assert "thirty days of paid leave" in str(answer)
    assert "remote" not in str(answer)


@pytest.mark.parametrize("given", [{"top_n": 0}, {"passages": -1}])
def test_numbers_out_of_range_are_refused(encoder, given):
    with pytest.raises(ValueError, match=next(iter(given))):
        ColBERTRerank(encoder=encoder, **given)


def test_wrong_arguments_are_refused(encoder):
    with pytest.raises(TypeError, match="top_k"):
        ColBERTRerank(top_k=3)
    with pytest.raises(InvalidArgumentError, match="an encoder has both already"):
        ColBERTRerank(model="a", encoder=encoder)
    with pytest.raises(ModelMismatchError, match="found MockEmbedding"):
        ColBERTRerank(encoder=MockEmbedding(embed_dim=1))


def test_a_pickle_keeps_the_encoder(found):
    reranker = ColBERTRerank(top_n=2, encoder=HashEncoder(seed=7), keep_retrieval_score=True, passages=0)
    again = pickle.loads(pickle.dumps(reranker))
    assert again.encoder.fingerprint == reranker.encoder.fingerprint
    assert again.model_dump() == reranker.model_dump()
    query = QueryBundle(QUERY)
    assert again.postprocess_nodes(found, query) == reranker.postprocess_nodes(found, query)


class Unpicklable(HashEncoder):
    def __reduce__(self):
        raise TypeError("this encoder holds a socket")


def test_an_encoder_that_cannot_be_pickled_is_an_error_and_not_another_encoder():
    with pytest.raises(TypeError, match="this encoder holds a socket"):
        pickle.dumps(ColBERTRerank(encoder=Unpicklable()))


def test_a_dict_makes_an_equal_one_and_an_encoder_object_is_refused(encoder):
    data = ColBERTRerank("some/model", 5, "cpu", passages=2).to_dict()
    again = ColBERTRerank.from_dict(data)
    assert again.to_dict() == data
    assert (again.encoder.name, again.top_n, again.device) == ("some/model", 5, "cpu")
    with pytest.raises(TypeError, match="A dict cannot hold the HashEncoder"):
        ColBERTRerank(encoder=encoder).to_dict()
    with pytest.raises(TypeError, match="A dict cannot hold the HashEncoder"):
        ColBERTRerank(encoder=encoder).to_json()


def test_the_query_engine_s_callback_manager_is_taken_over(index, encoder):
    reranker = ColBERTRerank(encoder=encoder)
    engine = index.as_query_engine(llm=MockLLM(), node_postprocessors=[reranker])
    assert reranker.callback_manager is engine.callback_manager is Settings.callback_manager
