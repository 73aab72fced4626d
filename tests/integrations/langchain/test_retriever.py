from __future__ import annotations

import asyncio
import copy
import json
import pickle

import numpy as np
import pytest
from langchain_colbert_rag import ColBERTRetriever, InvalidArgumentError
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import ParrotFakeChatModel
from langchain_core.load import dumps
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnablePassthrough
from langchain_core.tools import create_retriever_tool
from pydantic import ValidationError

from colbert_rag import Encoder, IndexNotFoundError, InvalidQueryError, ModelNotFoundError, SearchConfig

QUERY = "how long is the notice period"


@pytest.fixture
def retriever(handbook) -> ColBERTRetriever:
    return ColBERTRetriever(store=handbook)


def ids_of(documents):
    return [document.id for document in documents]


# --- arguments


def test_open_takes_a_folder_and_the_fields(handbook, encoder):
    retriever = ColBERTRetriever.open(handbook.index.path, encoder, k=2, filter={"lang": "en"})
    assert ids_of(retriever.invoke(QUERY))[0] == "notice"
    assert len(retriever.invoke(QUERY)) == 2


def test_open_refuses_a_folder_that_is_no_index(tmp_path, encoder):
    with pytest.raises(IndexNotFoundError):
        ColBERTRetriever.open(tmp_path / "typo", encoder)


async def test_k_is_four_or_that_of_the_constructor_or_that_of_the_call(handbook, store):
    store.add_texts(["a fifth page", "a sixth page"])
    assert len(ColBERTRetriever(store=handbook).invoke(QUERY)) == 4
    retriever = ColBERTRetriever(store=handbook, k=2)
    assert len(retriever.invoke(QUERY)) == len(await retriever.ainvoke(QUERY)) == 2
    assert len(retriever.invoke(QUERY, k=3)) == len(await retriever.ainvoke(QUERY, k=3)) == 3


async def test_the_filter_of_a_call_replaces_that_of_the_constructor(handbook):
    retriever = ColBERTRetriever(store=handbook, filter={"lang": "de"})
    assert ids_of(retriever.invoke(QUERY)) == ["frist"]
    assert ids_of(retriever.invoke(QUERY, filter=None)) == ["frist"]
    assert ids_of(retriever.invoke(QUERY, filter={"year": 2022})) == ["remote"]
    assert ids_of(await retriever.ainvoke(QUERY, filter={"year": 2022})) == ["remote"]
    assert len(retriever.invoke(QUERY, filter={})) == 4


async def test_a_filter_may_be_a_callable_on_langchain_documents(retriever):
    def accepts(document: Document) -> bool:
        assert type(document) is Document
        return document.metadata["year"] == 2020 and document.id == "leave" and "thirty" in document.page_content

    assert ids_of(retriever.invoke(QUERY, filter=accepts)) == ["leave"]
    assert ids_of(await retriever.ainvoke(QUERY, filter=accepts)) == ["leave"]


async def test_mode_and_passages_can_be_given_per_call(retriever):
    assert ids_of(retriever.invoke("Frist", mode="bm25")) == ["frist"]
    assert ids_of(await retriever.ainvoke("Frist", mode="bm25")) == ["frist"]
    assert retriever.invoke(QUERY, k=1, passages=0)[0].metadata["passages"] == []
    with pytest.raises(InvalidQueryError, match="mode must be one of"):
        retriever.invoke(QUERY, mode="dense")


def test_k_filter_and_mode_are_configurable(retriever):
    configurable = retriever.configurable_fields(
        k=ConfigurableField(id="k"), filter=ConfigurableField(id="filter"), mode=ConfigurableField(id="mode")
    )
    assert len(configurable.with_config(configurable={"k": 3}).invoke(QUERY)) == 3
    english = {"configurable": {"filter": {"lang": "en"}, "mode": "hybrid"}}
    assert set(ids_of(configurable.invoke(QUERY, english))) == {"notice", "leave", "remote"}
    assert len(configurable.invoke(QUERY)) == 4


async def test_an_unknown_argument_is_an_error_everywhere(handbook, retriever):
    with pytest.raises(ValidationError, match="top_k"):
        ColBERTRetriever(store=handbook, top_k=3)
    takes = "k, filter, mode, passages, passage_sentences, context_tokens"
    expected = f"ColBERTRetriever.invoke takes no argument 'top_k'; it takes {takes}."
    with pytest.raises(InvalidArgumentError) as error:
        retriever.invoke(QUERY, top_k=3)
    assert str(error.value) == expected
    with pytest.raises(InvalidArgumentError, match="top_k"):
        await retriever.ainvoke(QUERY, top_k=3)
    with pytest.raises(InvalidArgumentError, match="top_k"):
        retriever.batch([QUERY], top_k=3)
    with pytest.raises(InvalidArgumentError, match="top_k"):
        await retriever.abatch([QUERY], top_k=3)


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "dense"},
        {"store": "handbook"},
        {"config": {"n_candidates": "many"}},
        {"k": 0},
        {"k": True},
        {"k": "3"},
    ],
)
def test_a_wrong_value_is_refused_by_the_constructor(handbook, fields):
    with pytest.raises(ValidationError):
        ColBERTRetriever(**{"store": handbook, **fields})


@pytest.mark.parametrize(
    ("name", "value"), [("k", -3), ("k", True), ("k", np.int64(0)), ("mode", "dense"), ("store", None), ("top_k", 3)]
)
def test_a_wrong_value_is_refused_when_it_is_assigned_and_the_old_one_stays(retriever, name: str, value):
    before = retriever.model_dump()
    with pytest.raises(ValidationError, match=name):
        setattr(retriever, name, value)
    assert retriever.model_dump() == before
    assert len(retriever.invoke(QUERY)) == 4


def test_fields_may_be_changed_later(retriever):
    retriever.k, retriever.filter, retriever.passages = 2, {"lang": "en"}, 0
    found = retriever.invoke(QUERY)
    assert [(document.metadata["lang"], document.metadata["passages"]) for document in found] == [("en", [])] * 2


async def test_k_may_be_an_integer_of_numpy(handbook):
    retriever = ColBERTRetriever(store=handbook, k=np.int64(2))
    assert type(retriever.k) is int
    assert len(retriever.invoke(QUERY)) == len(await retriever.ainvoke(QUERY)) == 2
    retriever.k = np.int32(3)
    assert len(retriever.invoke(QUERY)) == 3
    assert len(retriever.invoke(QUERY, k=np.uint8(1))) == 1
    for wrong in (np.float64(2), np.bool_(True)):
        with pytest.raises(ValidationError):
            ColBERTRetriever(store=handbook, k=wrong)


@pytest.mark.parametrize("k", [0, -1, True])
def test_a_wrong_k_is_refused(retriever, k):
    with pytest.raises(InvalidQueryError, match="k must be"):
        retriever.invoke(QUERY, k=k)


def test_verbose_which_langchain_reads_itself_is_no_error(retriever):
    assert len(retriever.invoke(QUERY, verbose=False)) == 4


def test_config_reaches_the_search_and_passages_goes_ahead_of_it(handbook):
    retriever = ColBERTRetriever(store=handbook, config=SearchConfig(passages=0))
    assert retriever.invoke(QUERY)[0].metadata["passages"] == []
    both = ColBERTRetriever(store=handbook, config=SearchConfig(passages=0), passages=1)
    assert len(both.invoke(QUERY)[0].metadata["passages"]) == 1


# --- evidence


def test_documents_say_how_well_and_where(retriever, pages):
    [found] = retriever.invoke("the notice period", k=1)
    assert (found.id, found.page_content) == (pages[0].id, pages[0].page_content)
    assert set(found.metadata) == {*pages[0].metadata, "relevance_score", "passages"}
    assert found.metadata["relevance_score"] == pytest.approx(1, abs=0.01)
    [passage] = found.metadata["passages"]
    assert passage["text"] == found.page_content[passage["start"] : passage["end"]]
    assert "notice period" in passage["text"]
    assert set(passage) == {"start", "end", "text", "score"}


@pytest.mark.parametrize("mode", ["maxsim", "hybrid", "bm25"])
def test_what_is_added_to_metadata_is_plain_python_that_json_holds(retriever, mode: str):
    for document in retriever.invoke(QUERY, mode=mode):
        assert json.loads(document.model_dump_json())["metadata"] == document.metadata
        if mode != "bm25":
            assert type(document.metadata["relevance_score"]) is float
            assert 0 <= document.metadata["relevance_score"] <= 1
        for passage in document.metadata["passages"]:
            assert [type(passage[key]) for key in ("start", "end", "text", "score")] == [int, int, str, float]


def test_by_words_alone_there_is_no_relevance(retriever):
    [found] = retriever.invoke("Frist", mode="bm25")
    assert "relevance_score" not in found.metadata


@pytest.mark.parametrize("mode", ["maxsim", "hybrid", "bm25"])
def test_a_stored_entry_under_a_name_of_evidence_is_not_taken_for_evidence(store, mode: str):
    stale = Document(id="a", page_content="amber birch", metadata={"relevance_score": "old", "passages": 12, "n": 1})
    store.add_documents([stale])
    [found] = ColBERTRetriever(store=store, mode=mode).invoke("birch")
    names = {"passages", "n"} if mode == "bm25" else {"passages", "n", "relevance_score"}
    assert set(found.metadata) == names
    assert found.metadata.get("relevance_score") != "old"
    assert found.metadata["passages"][0]["text"] == "amber birch"
    assert store.get_by_ids(["a"]) == [stale]


def test_by_words_the_score_of_a_passage_is_the_number_of_query_words_in_it(store):
    store.add_texts(["Amber and birch and amber. Cedar alone."])
    [found] = ColBERTRetriever(store=store, mode="bm25", passages=2).invoke("amber birch cedar")
    assert [passage["score"] for passage in found.metadata["passages"]] == [2, 1]


def test_by_words_only_documents_with_a_word_of_the_query_are_found(store):
    store.add_texts(["amber", "birch", "cedar"])
    assert len(ColBERTRetriever(store=store, k=3, mode="bm25").invoke("birch")) == 1
    assert len(ColBERTRetriever(store=store, k=3).invoke("birch")) == 3


def test_what_is_stored_never_changes(retriever, pages):
    found = retriever.invoke(QUERY)
    found[0].metadata["year"] = 1900
    assert retriever.store.get_by_ids([page.id for page in pages]) == pages


async def test_ainvoke_finds_the_same(retriever):
    assert await retriever.ainvoke(QUERY) == retriever.invoke(QUERY)


def test_a_long_document_shows_where_in_it_the_answer_is(handbook):
    filler = " ".join(f"Clause {n} deals with item {n}." for n in range(400))
    text = f"{filler} Either side may end the contract with ninety days warning. {filler}"
    handbook.add_texts([text], ids=["contract"])
    [found] = ColBERTRetriever(store=handbook, k=1, passages=2).invoke("end the contract with ninety days warning")
    best, second = found.metadata["passages"]
    assert found.id == "contract"
    assert best["text"] == "Either side may end the contract with ninety days warning."
    assert best["score"] >= second["score"]


# --- batches


class CountingEncoder(Encoder):
    """The built-in model, which counts its forward passes of queries."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[int] = []

    def _encode_new_queries(self, texts):
        self.passes.append(len(texts))
        return super()._encode_new_queries(texts)


@pytest.fixture(scope="session")
def counting() -> CountingEncoder:
    return CountingEncoder()


@pytest.fixture
def counted(new_store, counting, pages) -> ColBERTRetriever:
    store = new_store("counted", counting)
    store.add_documents(pages)
    counting._cache._vectors.clear()
    counting.passes.clear()
    return ColBERTRetriever(store=store, k=1)


def test_a_batch_is_one_forward_pass_and_finds_what_single_calls_find(counted, counting):
    queries = ["notice period", "paid leave", "remote work", "Frist"]
    found = counted.batch(queries, k=2)
    assert counting.passes == [4]
    assert [ids_of(documents) for documents in found] == [ids_of(counted.invoke(query, k=2)) for query in queries]
    assert all(len(documents) == 2 for documents in found)


async def test_an_async_batch_shares_forward_passes(counted, counting):
    queries = ["notice period", "paid leave", "remote work", "Frist", "two days", "months"]
    found = await counted.abatch(queries)
    assert sum(counting.passes) == 6
    assert len(counting.passes) <= 2
    assert found == [counted.invoke(query) for query in queries]


def test_a_batch_that_is_larger_than_the_cache_encodes_no_query_twice(counted, counting):
    queries = [f"page {n}" for n in range(300)]
    assert len(counted.batch(queries)) == 300
    assert sum(counting.passes) == 300


def test_a_batch_by_words_encodes_nothing(counted, counting):
    counted.batch(["notice", "leave"], mode="bm25")
    assert counting.passes == []


def test_one_bad_query_fails_alone(counted):
    good, bad, also_good = counted.batch(["notice", " ", "leave"], return_exceptions=True)
    assert ids_of(good) == ["notice"]
    assert isinstance(bad, InvalidQueryError)
    assert ids_of(also_good) == ["leave"]
    with pytest.raises(InvalidQueryError):
        counted.batch(["notice", " "])


def test_a_model_that_is_missing_fails_each_query_of_a_batch(handbook):
    retriever = ColBERTRetriever.open(handbook.index.path)
    found = retriever.batch(["notice", "leave"], return_exceptions=True)
    assert [type(error) for error in found] == [ModelNotFoundError] * 2
    retriever.store.index.close()


def test_a_batch_of_nothing_is_nothing(retriever):
    assert retriever.batch([]) == []


def test_each_query_of_a_batch_may_have_its_own_config(retriever):
    seen = []

    class Handler(BaseCallbackHandler):
        def on_retriever_start(self, serialized, query, *, tags=None, **kwargs):
            seen.append((query, tags))

    configs = [{"callbacks": [Handler()], "tags": [tag]} for tag in ("x", "y")]
    retriever.batch(["notice", "leave"], configs)
    assert sorted(seen) == [("leave", ["y"]), ("notice", ["x"])]


async def test_concurrent_calls_share_one_forward_pass(new_store, slow_encoder, pages):
    store = new_store(given=slow_encoder)
    store.add_documents(pages)
    retriever = ColBERTRetriever(store=store)
    found = await asyncio.gather(*(retriever.ainvoke(query) for query in ["notice", "leave", "remote", "Frist"] * 5))
    assert [documents[0].id for documents in found] == ["notice", "leave", "remote", "frist"] * 5
    assert slow_encoder.passes <= 4, "20 calls"


# --- in LangChain


async def test_tracing_shows_start_end_and_what_was_asked(handbook):
    retriever = ColBERTRetriever(store=handbook, k=2, tags=["tag"], metadata={"team": "docs"})
    events = [event async for event in retriever.astream_events(QUERY, version="v2")]
    start, end = events[0], events[-1]
    assert [start["event"], end["event"]] == ["on_retriever_start", "on_retriever_end"]
    assert start["metadata"]["ls_retriever_name"] == "colbert"
    assert start["metadata"]["ls_vector_store_provider"] == "colbert_rag"
    assert start["metadata"]["ls_embedding_provider"] == "colbert_rag"
    assert start["metadata"]["ls_embedding_model"] == "in memory"
    assert start["metadata"]["team"] == "docs"
    assert start["tags"] == ["tag"]
    assert ids_of(end["data"]["output"])[0] == "notice"


def test_tracing_names_the_model_and_does_not_load_it(new_store, builtin, monkeypatch: pytest.MonkeyPatch):
    path = new_store(given=builtin).index.path

    def load(self):
        raise ModelNotFoundError("loaded")

    for way in ("_load", "_for_queries"):
        monkeypatch.setattr(Encoder, way, load)
    retriever = ColBERTRetriever.open(path)
    assert retriever._get_ls_params()["ls_embedding_model"] == "builtin"
    assert retriever.invoke("notice", mode="bm25") == []
    with pytest.raises(ModelNotFoundError, match="loaded"):
        retriever.invoke("notice")
    retriever.store.index.close()


def test_a_failing_call_is_traced_as_an_error(retriever):
    seen = []

    class Handler(BaseCallbackHandler):
        def on_retriever_error(self, error, **kwargs):
            seen.append(error)

    with pytest.raises(InvalidQueryError):
        retriever.invoke(" ", {"callbacks": [Handler()]})
    assert [type(error) for error in seen] == [InvalidQueryError]


@pytest.fixture
def chain(retriever):
    def joined(documents):
        return "\n".join(document.page_content for document in documents)

    prompt = ChatPromptTemplate.from_template("{context}\n\nQuestion: {question}")
    return (
        {"context": retriever | joined, "question": RunnablePassthrough()}
        | prompt
        | ParrotFakeChatModel()
        | StrOutputParser()
    )


async def test_a_chain_gets_the_text_in_every_way_of_calling_it(chain, pages):
    expected = chain.invoke(QUERY)
    assert expected.startswith(pages[0].page_content)
    assert await chain.ainvoke(QUERY) == expected
    assert chain.batch([QUERY, QUERY]) == [expected, expected]
    assert "".join(chain.stream(QUERY)) == expected


def test_a_chain_can_be_dumped(chain):
    assert "ColBERTRetriever" in json.dumps(json.loads(dumps(chain)))


def test_a_tool_keeps_documents_as_its_artifact(retriever):
    tool = create_retriever_tool(retriever, "handbook", "The handbook.", response_format="content_and_artifact")
    call = {"name": "handbook", "args": {"query": QUERY}, "id": "1", "type": "tool_call"}
    message = tool.invoke(call)
    assert message.artifact[0].id == "notice"
    assert message.content.startswith("The notice period")
    assert "relevance_score" in json.loads(message.model_dump_json())["artifact"][0]["metadata"]


# --- copies


def test_a_pickled_retriever_finds_the_same(handbook):
    retriever = ColBERTRetriever(store=handbook, k=2, filter={"lang": "en"}, mode="hybrid")
    again = pickle.loads(pickle.dumps(retriever))
    assert again.invoke(QUERY) == retriever.invoke(QUERY)
    again.store.index.close()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda r: r.model_copy(update={})])
def test_a_copy_works_on_the_same_store(retriever, duplicate):
    again = duplicate(retriever)
    assert again is not retriever
    assert again.store is retriever.store
    assert again.invoke(QUERY) == retriever.invoke(QUERY)


def test_the_repr_shows_the_folder_and_no_objects_inside(retriever):
    assert "store=ColBERTVectorStore('" in repr(retriever)
    assert " object at " not in repr(retriever)
