"""What LlamaIndex expects of classes like these; it has no test suite of its own for them."""

from __future__ import annotations

import inspect
import pickle

import pytest
from llama_index.core import Document
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import MockLLM
from llama_index.core.schema import QueryBundle, TextNode
from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQuery
from llama_index_colbert_rag import (
    ColBERTIndex,
    ColBERTRerank,
    ColBERTRetriever,
    ColBERTVectorStore,
    EvidenceContext,
    LateInteractionMarker,
    NodeWithEvidence,
)

HANDBOOK = {
    "notice": "Whoever leaves gives three months' notice.",
    "leave": "Every year has thirty days of paid holidays. Days that are left expire in March.",
    "remote": "You may work from home two days a week.",
    "pets": "Dogs are welcome on Fridays.",
}
QUESTIONS = {
    "How long is the notice period?": "notice",
    "How much vacation do I get?": "leave",
    "Is telecommuting allowed?": "remote",
    "May I bring my puppy?": "pets",
}


@pytest.mark.parametrize(
    ("made", "base"),
    [
        (ColBERTVectorStore, "BasePydanticVectorStore"),
        (ColBERTRetriever, "BaseRetriever"),
        (ColBERTRerank, "BaseNodePostprocessor"),
        (EvidenceContext, "BaseNodePostprocessor"),
        (ColBERTIndex, "VectorStoreIndex"),
        (ColBERTIndex, "BaseIndex"),
        (LateInteractionMarker, "TransformComponent"),
        (NodeWithEvidence, "NodeWithScore"),
    ],
)
def test_the_base_class_is_the_framework_s(made: type, base: str):
    assert base in [cls.__name__ for cls in made.__mro__]


@pytest.mark.parametrize(
    "made", [ColBERTVectorStore, ColBERTRerank, EvidenceContext, LateInteractionMarker, NodeWithEvidence]
)
def test_the_class_name_is_the_name_of_the_class(made: type):
    assert made.class_name() == made.__name__


def test_every_public_method_of_the_store_has_its_async_twin():
    twins = {"add": "async_add"}
    for name in ("add", "delete", "delete_nodes", "get_nodes", "clear", "query"):
        twin = twins.get(name, f"a{name}")
        for method in (name, twin):
            assert method in vars(ColBERTVectorStore), f"{method} is inherited, and blocks the event loop"
        assert inspect.iscoroutinefunction(getattr(ColBERTVectorStore, twin))


@pytest.mark.parametrize("base", [BasePydanticVectorStore, BaseRetriever])
def test_arguments_have_the_names_by_which_the_framework_passes_them(base: type):
    ours = ColBERTVectorStore if base is BasePydanticVectorStore else ColBERTRetriever
    for name in vars(ours).keys() & vars(base).keys():
        if inspect.isfunction(vars(base)[name]) and not name.startswith("__"):
            theirs = inspect.signature(vars(base)[name]).parameters.values()
            named = [p.name for p in theirs if p.kind is p.POSITIONAL_OR_KEYWORD]
            assert list(inspect.signature(vars(ours)[name]).parameters)[: len(named)] == named, name


def test_the_marker_goes_through_dict_and_pickle():
    marker = LateInteractionMarker()
    assert LateInteractionMarker.from_dict(marker.to_dict()) == marker
    assert pickle.loads(pickle.dumps(marker)) == marker


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, builtin):
    """The real encoder, and documents with a heading."""
    documents = [Document(id_=name, text=text, metadata={"page": name}) for name, text in HANDBOOK.items()]
    index = ColBERTIndex.from_documents(documents, path=tmp_path_factory.mktemp("real") / "index", encoder=builtin)
    yield index
    index.vector_store.client.close()


@pytest.mark.parametrize("question", QUESTIONS)
async def test_the_real_model_finds_the_answer_by_meaning(real: ColBERTIndex, question: str):
    retriever = real.as_retriever(similarity_top_k=2)
    found = retriever.retrieve(question)
    assert found[0].node.ref_doc_id == QUESTIONS[question]
    assert all(0 < node.score <= 1 for node in found)
    assert found[0].passages[0].text in HANDBOOK[QUESTIONS[question]]
    assert [f.node_id for f in await retriever.aretrieve(question)] == [f.node_id for f in found]
    result = real.vector_store.query(VectorStoreQuery(query_str=question, similarity_top_k=1))
    assert result.ids == [found[0].node_id]


def test_the_real_model_reranks_as_the_index_ranks(real: ColBERTIndex, builtin):
    question = "How much vacation do I get?"
    found = real.as_retriever(similarity_top_k=4).retrieve(question)
    ranked = ColBERTRerank(top_n=4, encoder=builtin).postprocess_nodes(found[::-1], QueryBundle(question))
    assert [node.node_id for node in ranked] == [node.node_id for node in found]
    assert [node.score for node in ranked] == pytest.approx([node.score for node in found], abs=1e-3)
    assert ranked[0].passages[0].text == found[0].passages[0].text == "Every year has thirty days of paid holidays."


def test_the_real_model_is_found_again_after_load(real: ColBERTIndex):
    loaded = ColBERTIndex.load(real.vector_store.path)
    question = "Is telecommuting allowed?"
    assert loaded.as_retriever().retrieve(question) == real.as_retriever().retrieve(question)
    assert loaded.as_query_engine(llm=MockLLM()).query(question).source_nodes[0].node.ref_doc_id == "remote"
    loaded.vector_store.client.close()


def test_the_default_reranker_is_the_built_in_model(builtin):
    reranker = ColBERTRerank(top_n=1)
    nodes = [NodeWithEvidence(node=TextNode(id_=name, text=text)) for name, text in HANDBOOK.items()]
    [best] = reranker.postprocess_nodes(nodes, query_str="May I bring my puppy?")
    assert best.node_id == "pets"
    again = ColBERTRerank.from_dict(reranker.to_dict())
    assert again.encoder.name == builtin.name == "builtin"
    assert pickle.loads(pickle.dumps(reranker)).postprocess_nodes(nodes, query_str="dogs")[0].node_id == "pets"
