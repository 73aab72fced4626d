from __future__ import annotations

import asyncio
import pickle

import numpy as np
import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.span_handlers import NullSpanHandler
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever, TransformRetriever
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
from llama_index_colbert_rag import ColBERTRetriever, NodeWithEvidence

from colbert_rag import InvalidArgumentError, InvalidFilterError, InvalidQueryError, SearchConfig

GERMAN = MetadataFilters(filters=[MetadataFilter(key="lang", value="de")])


def ids(found: list[NodeWithScore]) -> list[str]:
    return [node.node_id for node in found]


@pytest.fixture(params=["retrieve", "aretrieve"])
def retrieve(request: pytest.FixtureRequest):
    """Both ways to ask."""

    def ask(retriever: ColBERTRetriever, query: str | QueryBundle) -> list[NodeWithScore]:
        if request.param == "retrieve":
            return retriever.retrieve(query)
        return asyncio.run(retriever.aretrieve(query))

    return ask


def test_two_nodes_are_found_unless_more_are_asked_for(handbook, retrieve):
    assert (
        ids(retrieve(ColBERTRetriever(handbook), "notice period"))
        == ids(retrieve(ColBERTRetriever(handbook, similarity_top_k=4), "notice period"))[:2]
    )
    retriever = ColBERTRetriever(handbook)
    assert retriever.similarity_top_k == 2
    retriever.similarity_top_k = 3
    assert len(retrieve(retriever, "notice")) == 3


def test_score_and_passages_are_those_of_the_core(handbook, retrieve, pages):
    hits = handbook.client.search("thirty days of leave", 4, config=SearchConfig(passages=2))
    found = retrieve(ColBERTRetriever(handbook, 4, passages=2), "thirty days of leave")
    assert [(f.node_id, f.score, f.passages) for f in found] == [(h.id, h.relevance, h.passages) for h in hits]
    assert all(type(node) is NodeWithEvidence and type(node.score) is float for node in found)
    assert found[0].node == pages[1]
    assert found[0].passages[0].text == pages[1].text


def test_no_passages_where_none_are_asked_for(handbook, retrieve):
    assert retrieve(ColBERTRetriever(handbook, passages=0), "notice")[0].passages == ()


def test_restrictions_are_honoured(handbook, retrieve):
    assert ids(retrieve(ColBERTRetriever(handbook, 9, filters=GERMAN), "notice")) == ["frist"]
    assert ids(retrieve(ColBERTRetriever(handbook, 9, node_ids=("leave",)), "notice")) == ["leave"]
    assert ids(retrieve(ColBERTRetriever(handbook, 9, doc_ids=["leave"]), "notice")) == ["leave"]
    assert len(retrieve(ColBERTRetriever(handbook, 9, node_ids=[], doc_ids=[]), "notice")) == 4


@pytest.mark.parametrize("mode", ["text_search", "hybrid", "mmr"])
def test_modes_are_those_of_the_store(handbook, retrieve, mode: str):
    core = {"text_search": "bm25", "hybrid": "hybrid", "mmr": "maxsim"}[mode]
    config = SearchConfig(diversity=0.8) if mode == "mmr" else SearchConfig()
    hits = handbook.client.search("drei days", 4, mode=core, config=config)
    threshold = 0.2 if mode == "mmr" else None
    found = retrieve(ColBERTRetriever(handbook, 4, mode=mode, mmr_threshold=threshold), "drei days")
    assert ids(found) == [hit.id for hit in hits]
    assert [f.score for f in found] == [h.relevance if mode == "mmr" else h.score for h in hits]


def test_several_embedding_strings_are_one_query_of_all_their_vectors(handbook, retrieve):
    texts = ["notice period", "thirty days of paid leave"]
    vectors = np.concatenate(handbook.encoder.encode_queries(texts))
    [hits] = handbook.client.search_vectors([vectors], 4)
    found = retrieve(ColBERTRetriever(handbook, 4), QueryBundle("period", custom_embedding_strs=texts))
    assert [(f.node_id, f.score) for f in found] == [(h.id, h.relevance) for h in hits]
    assert ids(found)[0] == "leave"
    alone = retrieve(ColBERTRetriever(handbook, 4), QueryBundle("period", custom_embedding_strs=texts[:1]))
    assert ids(alone)[0] == "notice"


def test_by_words_several_strings_are_searched_in_a_row(handbook, retrieve):
    query = QueryBundle("nothing", custom_embedding_strs=["Frist", "remote"])
    assert set(ids(retrieve(ColBERTRetriever(handbook, 9, mode="sparse"), query))) == {"frist", "remote"}


def test_hyde_is_honoured(handbook, retrieve):
    hyde = HyDEQueryTransform(llm=MockLLM(), include_original=True)
    bundle = hyde.run("thirty days of paid leave")
    assert len(bundle.embedding_strs) == 2
    retriever = TransformRetriever(ColBERTRetriever(handbook), hyde)
    assert ids(retrieve(retriever, "thirty days of paid leave"))[0] == "leave"


def test_a_query_without_text_is_refused(handbook, retrieve):
    with pytest.raises(InvalidQueryError, match="the query has no text"):
        retrieve(ColBERTRetriever(handbook), QueryBundle(""))
    with pytest.raises(InvalidQueryError, match="blank"):
        retrieve(ColBERTRetriever(handbook), "  ")


def test_an_empty_store_finds_nothing(store, retrieve):
    assert retrieve(ColBERTRetriever(store), "notice") == []


def test_scores_can_be_cut_off(handbook):
    found = ColBERTRetriever(handbook, 4).retrieve("notice period")
    kept = SimilarityPostprocessor(similarity_cutoff=0.9).postprocess_nodes(found)
    assert ids(kept) == ["notice"]


def test_an_index_node_leads_to_what_it_stands_for(store, retrieve):
    store.add([TextNode(id_="plain", text="amber"), IndexNode(id_="door", text="birch", index_id="inner")])
    inside = TextNode(id_="inside", text="behind the door")
    object_map = {"inner": inside}
    found = retrieve(ColBERTRetriever(store, object_map=object_map), "birch")
    assert ids(found) == ["inside", "plain"]
    assert found[0].score > 0.9
    nested = ColBERTRetriever(store, 1, node_ids=["plain"])
    assert ids(retrieve(ColBERTRetriever(store, 1, object_map={"inner": nested}), "birch")) == ["plain"]
    engine = RetrieverQueryEngine.from_args(nested, llm=MockLLM())
    [answer] = retrieve(ColBERTRetriever(store, 1, object_map={"inner": engine}), "birch")
    assert "amber" in answer.text


def test_whatever_an_index_node_leads_to_comes_back_with_evidence_of_which_there_may_be_none(store, retrieve):
    store.add([TextNode(id_="plain", text="amber"), IndexNode(id_="door", text="birch", index_id="inner")])
    nested = ColBERTRetriever(store, 1, node_ids=["plain"])
    other = VectorStoreIndex([TextNode(id_="deep", text="deep")], embed_model=MockEmbedding(embed_dim=2))
    led_to = {
        "plain": nested,
        "inside": TextNode(id_="inside", text="i"),
        "scored": NodeWithScore(node=TextNode(id_="scored", text="s"), score=0.25),
        "deep": other.as_retriever(),
        "door": None,
    }
    for node_id, led in led_to.items():
        [found] = retrieve(ColBERTRetriever(store, 1, object_map={"inner": led}), "birch")
        assert (found.node_id, type(found)) == (node_id, NodeWithEvidence)
        assert len(found.passages) == (node_id in ("plain", "door"))
    [answer] = retrieve(ColBERTRetriever(store, 1, object_map={"inner": other.as_query_engine(llm=MockLLM())}), "birch")
    assert (type(answer), answer.passages) == (NodeWithEvidence, ())
    [scored] = retrieve(ColBERTRetriever(store, 1, object_map={"inner": led_to["scored"]}), "birch")
    assert (scored.node, scored.score) == (led_to["scored"].node, 0.25)


def test_a_retrieval_is_one_span_of_a_trace(handbook, retrieve):
    class Spans(NullSpanHandler):
        def span_enter(self, id_, *args, **kwargs):
            seen.append(id_.split("-")[0])

    seen = []
    root = get_dispatcher()
    handlers = list(root.span_handlers)
    root.add_span_handler(Spans())
    try:
        retrieve(ColBERTRetriever(handbook), "notice")
    finally:
        root.span_handlers = handlers
    assert sum(name in ("ColBERTRetriever.retrieve", "ColBERTRetriever.aretrieve") for name in seen) == 1


def test_an_index_node_of_score_zero_is_not_taken_for_a_perfect_one(store, retrieve):
    class Opposite(type(store.encoder)):
        """Every query is the opposite of every document: MaxSim is below zero, relevance is 0."""

        def encode_queries(self, texts):
            return [-vectors for vectors in super().encode_queries(texts)]

    store.add([IndexNode(id_="door", text="birch", index_id="inner")])
    store.client._encoder = Opposite()
    found = retrieve(ColBERTRetriever(store, object_map={"inner": TextNode(id_="inside", text="i")}), "birch")
    assert ids(found) == ["inside"]
    assert found[0].score < 1e-300


def test_fusion_knows_a_node_again_although_its_passages_differ(handbook):
    retrievers = [ColBERTRetriever(handbook, 4), ColBERTRetriever(handbook, 4, passages=3, mode="hybrid")]
    for mode in ("reciprocal_rerank", "relative_score", "simple", "dist_based_score"):
        fused = QueryFusionRetriever(
            retrievers, llm=MockLLM(), num_queries=1, similarity_top_k=9, mode=mode, use_async=False
        ).retrieve("notice period")
        assert sorted(ids(fused)) == ["frist", "leave", "notice", "remote"], mode
        assert fused[0].node_id == "notice"
        assert fused[0].passages


def test_a_pickle_finds_the_same(handbook):
    retriever = ColBERTRetriever(handbook, 3, filters=GERMAN, passages=2)
    again = pickle.loads(pickle.dumps(retriever))
    assert [f.to_dict() for f in again.retrieve("notice")] == [f.to_dict() for f in retriever.retrieve("notice")]
    again.vector_store.client.close()


def test_a_wrong_argument_name_is_an_error(handbook):
    with pytest.raises(TypeError, match="top_k"):
        ColBERTRetriever(handbook, top_k=3)


def test_what_a_retriever_cannot_do_is_refused_when_it_is_made(handbook, index):
    with pytest.raises(InvalidQueryError, match=r"query mode 'maxsim' is not supported; use one of default, mmr"):
        ColBERTRetriever(handbook, mode="maxsim")
    with pytest.raises(InvalidQueryError, match="alpha belongs to mode 'hybrid'"):
        ColBERTRetriever(handbook, alpha=0.5)
    with pytest.raises(InvalidQueryError, match="mmr_threshold must be between 0 and 1"):
        ColBERTRetriever(handbook, mode="mmr", mmr_threshold=7)
    for name in ("node_ids", "doc_ids"):
        with pytest.raises(InvalidArgumentError, match=f"{name} takes a list of str, found 'leave'"):
            ColBERTRetriever(handbook, **{name: "leave"})
    with pytest.raises(InvalidFilterError, match="must be llama_index's MetadataFilters"):
        ColBERTRetriever(handbook, filters={"lang": "de"})
    with pytest.raises(InvalidArgumentError, match="must be of type ColBERTVectorStore, found ColBERTIndex"):
        ColBERTRetriever(index)


def test_locality_reaches_the_core_and_survives_a_pickle(index, store, retrieve):
    near, far = ["notice period"] * 3, [word for n in range(400) for word in ("notice" if n == 0 else "filler",)]
    store.add([TextNode(id_="scattered", text=" ".join([*far, "period"])), TextNode(id_="near", text=" ".join(near))])
    retriever = index.as_retriever(similarity_top_k=4, locality=1.0, mode="hybrid", passages=0)
    config = SearchConfig(locality=1.0, passages=0)
    hits = store.client.search("notice period", 4, mode="hybrid", config=config)
    plain = store.client.search("notice period", 4, mode="hybrid", config=SearchConfig(passages=0))
    assert [hit.score for hit in hits] != [hit.score for hit in plain]
    again = pickle.loads(pickle.dumps(retriever))
    for one in (retriever, again):
        assert [(f.node_id, f.score) for f in retrieve(one, "notice period")] == [(h.id, h.score) for h in hits]
    again.vector_store.client.close()
    engine = index.as_query_engine(llm=MockLLM(), locality=0.5)
    assert engine.retriever.locality == 0.5
