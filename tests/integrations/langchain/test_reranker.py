from __future__ import annotations

import copy
import json
import pickle

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_colbert_rag import ColBERTReranker, InvalidArgumentError, RerankingRetriever
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError

from colbert_rag import InvalidQueryError, Reranker
from colbert_rag.testing import HashEncoder

QUERY = "how long is the notice period"


@pytest.fixture
def reranker(encoder) -> ColBERTReranker:
    return ColBERTReranker(encoder=encoder)


def ids_of(documents):
    return [document.id for document in documents]


def test_the_order_is_that_of_exact_maxsim(reranker, encoder, pages):
    found = reranker.compress_documents(pages[::-1], QUERY)
    expected = Reranker(encoder).rerank(QUERY, [page.page_content for page in pages[::-1]])
    assert ids_of(found) == [pages[::-1][ranked.position].id for ranked in expected][:3]
    assert [d.metadata["relevance_score"] for d in found] == [ranked.relevance for ranked in expected][:3]


def test_it_is_a_compressor_and_returns_three_or_top_n_or_all(reranker, encoder, pages):
    assert isinstance(reranker, BaseDocumentCompressor)
    assert len(reranker.compress_documents(pages, QUERY)) == 3
    assert len(ColBERTReranker(encoder=encoder, top_n=1).compress_documents(pages, QUERY)) == 1
    assert len(ColBERTReranker(encoder=encoder, top_n=None).compress_documents(pages, QUERY)) == 4
    assert len(ColBERTReranker(encoder=encoder, top_n=99).compress_documents(tuple(pages), QUERY)) == 4


def test_the_documents_passed_in_stay_as_they_are(reranker, pages):
    before = [page.model_copy(deep=True) for page in pages]
    found = reranker.compress_documents(pages, QUERY)
    assert pages == before
    found[0].metadata["year"] = 1900
    assert pages == before


def test_id_text_and_metadata_stay_and_evidence_is_added(reranker, pages):
    best = reranker.compress_documents(pages, QUERY)[0]
    assert (best.id, best.page_content) == ("notice", pages[0].page_content)
    assert {key: best.metadata[key] for key in pages[0].metadata} == pages[0].metadata
    assert type(best.metadata["relevance_score"]) is float
    [passage] = best.metadata["passages"]
    assert best.page_content[passage["start"] : passage["end"]] == passage["text"]
    assert json.loads(best.model_dump_json())["metadata"] == best.metadata


def test_the_scores_of_an_earlier_stage_are_replaced(reranker):
    document = Document(page_content="a cat", metadata={"relevance_score": 0.1, "passages": ["old"]})
    [found] = reranker.compress_documents([document], "cat")
    assert found.metadata["relevance_score"] == pytest.approx(1, abs=0.01)
    assert found.metadata["passages"][0]["text"] == "a cat"


def test_equal_scores_keep_the_order_of_the_input(encoder):
    documents = [Document(id=str(n), page_content="the same words") for n in range(20)]
    reranker = ColBERTReranker(encoder=encoder, top_n=None)
    assert ids_of(reranker.compress_documents(documents, "words")) == [str(n) for n in range(20)]


async def test_nothing_in_nothing_out(reranker):
    assert reranker.compress_documents([], QUERY) == []
    assert await reranker.acompress_documents([], QUERY) == []


async def test_blank_documents_come_last_with_a_relevance_of_0_and_take_no_place_of_others(reranker, pages):
    blank = [Document(id="empty", page_content=""), Document(id="blanks", page_content=" \n", metadata={"page": 7})]
    given = [blank[0], pages[3], blank[1], pages[0]]
    for top_n in (None, 3):
        reranker.top_n = top_n
        found = reranker.compress_documents(given, QUERY)
        assert ids_of(found) == ["notice", "frist", "empty", "blanks"][:top_n]
        assert [d.metadata["relevance_score"] for d in found[2:]] == [0.0, 0.0][: len(found) - 2]
        assert await reranker.acompress_documents(given, QUERY) == found
    reranker.top_n = 1
    assert ids_of(reranker.compress_documents(given, QUERY)) == ["notice"]
    reranker.top_n = None
    [_, last] = reranker.compress_documents(blank, QUERY)
    assert (last.page_content, last.metadata) == (" \n", {"page": 7, "relevance_score": 0.0, "passages": []})


def test_a_blank_document_takes_no_room_of_a_context(encoder, pages):
    reranker = ColBERTReranker(encoder=encoder, context_tokens=60)
    blank = Document(id="blank", page_content=" ")
    assert ids_of(reranker.compress_documents([blank, pages[0]], QUERY)) == ["notice"]
    assert reranker.compress_documents([blank], QUERY) == []
    with pytest.raises(InvalidQueryError, match="no room for any of 1 passages"):
        ColBERTReranker(encoder=encoder, context_tokens=1).compress_documents([blank, pages[0]], QUERY)


def test_a_blank_query_is_refused_beside_blank_documents(reranker):
    with pytest.raises(InvalidQueryError, match="blank"):
        reranker.compress_documents([Document(page_content=" ")], " ")


async def test_async_finds_the_same(reranker, pages):
    assert await reranker.acompress_documents(pages, QUERY) == reranker.compress_documents(pages, QUERY)


async def test_async_does_not_block_the_event_loop(slow_encoder, pages, loop_free):
    reranker = ColBERTReranker(encoder=slow_encoder)
    async with loop_free():
        await reranker.acompress_documents(pages, QUERY)
    async with loop_free():
        await reranker.as_runnable().ainvoke({"documents": pages, "query": QUERY})


@pytest.mark.parametrize("fields", [{"top_k": 3}, {"top_n": 0}, {"passages": -1}, {"encoder": 3}])
def test_a_wrong_field_is_refused(fields):
    with pytest.raises(ValidationError):
        ColBERTReranker(**fields)


def test_langchain_embeddings_are_refused_with_what_to_pass_instead():
    with pytest.raises(InvalidArgumentError, match="pass encoder="):
        ColBERTReranker(encoder=DeterministicFakeEmbedding(size=8))


def test_without_an_encoder_it_is_the_built_in_model_which_is_not_loaded_yet():
    reranker = ColBERTReranker()
    assert repr(reranker.encoder) == "Encoder('builtin')"
    assert reranker.encoder._token_model is None


def test_the_built_in_model_finds_the_meaning(builtin, pages):
    reranker = ColBERTReranker(encoder=builtin, top_n=1)
    [best] = reranker.compress_documents(pages, "How much holiday do I have?")
    assert best.id == "leave"


def test_passages_can_be_more_or_none(encoder, pages):
    none = ColBERTReranker(encoder=encoder, passages=0).compress_documents(pages, QUERY)
    assert [document.metadata["passages"] for document in none] == [[], [], []]


# --- with retrievers


@pytest.fixture
def base(pages):
    """A retriever whose order means nothing."""
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_documents(pages)
    return store.as_retriever(search_kwargs={"k": 4})


async def test_contextual_compression_and_wrap_find_the_same(base, reranker):
    classic = ContextualCompressionRetriever(base_retriever=base, base_compressor=reranker)
    wrapped = reranker.wrap(base)
    assert isinstance(wrapped, RerankingRetriever)
    assert classic.invoke(QUERY) == wrapped.invoke(QUERY)
    assert await classic.ainvoke(QUERY) == await wrapped.ainvoke(QUERY) == wrapped.invoke(QUERY)
    assert wrapped.invoke(QUERY)[0].id == "notice"


def test_wrap_may_have_a_top_n_of_its_own(base, reranker):
    assert len(reranker.wrap(base, top_n=1).invoke(QUERY)) == 1
    assert len(reranker.wrap(base).invoke(QUERY)) == 3
    assert reranker.top_n == 3
    with pytest.raises(ValidationError):
        reranker.wrap(base, top_n=0)


async def test_the_runnable_takes_documents_and_a_query(reranker, pages):
    runnable = reranker.as_runnable()
    given = {"documents": pages, "query": QUERY}
    assert runnable.invoke(given) == reranker.compress_documents(pages, QUERY) == await runnable.ainvoke(given)
    assert runnable.get_name() == "ColBERTReranker"
    with pytest.raises(TypeError, match="docs"):
        runnable.invoke({"docs": pages, "query": QUERY})


# --- copies


def test_a_pickled_reranker_orders_the_same(reranker, pages):
    again = pickle.loads(pickle.dumps(reranker))
    assert again.encoder.fingerprint == reranker.encoder.fingerprint
    assert again.compress_documents(pages, QUERY) == reranker.compress_documents(pages, QUERY)


def test_a_pickled_reranker_keeps_its_encoder():
    again = pickle.loads(pickle.dumps(ColBERTReranker(encoder=HashEncoder(seed=7), top_n=2)))
    assert again.encoder.fingerprint["hash_seed"] == 7
    assert again.top_n == 2


def test_an_encoder_that_cannot_be_pickled_says_so():
    class Local(HashEncoder):
        def __reduce__(self):
            raise TypeError("this one cannot be pickled")

    with pytest.raises(TypeError, match="this one cannot be pickled"):
        pickle.dumps(ColBERTReranker(encoder=Local()))


def test_a_copy_orders_the_same(reranker, pages):
    for again in (copy.copy(reranker), copy.deepcopy(reranker)):
        assert again.compress_documents(pages, QUERY) == reranker.compress_documents(pages, QUERY)


def test_the_encoder_may_be_changed_later(reranker):
    reranker.encoder = None
    assert repr(reranker.encoder) == "Encoder('builtin')"
