from __future__ import annotations

import asyncio
import copy
import gc
import pickle
from pathlib import Path

import pytest
from langchain_colbert_rag import ColBERTVectorStore, InvalidArgumentError
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from colbert_rag import (
    ColbertRagError,
    Index,
    IndexClosedError,
    IndexNotFoundError,
    InvalidDocumentError,
    InvalidFilterError,
    InvalidQueryError,
    ModelMismatchError,
    SearchConfig,
    filters,
)
from colbert_rag import Document as CoreDocument
from colbert_rag.testing import HashEncoder

QUERY = "how long is the notice period"


def ids_of(documents):
    return [document.id for document in documents]


def words(error) -> str:
    return str(error.value)


# --- opening


def test_the_store_is_a_langchain_vector_store_without_embeddings(store):
    assert isinstance(store, VectorStore)
    assert store.embeddings is None


def test_a_new_path_makes_an_index_and_a_known_one_opens_it(tmp_path: Path, encoder, pages):
    ColBERTVectorStore(tmp_path / "new", encoder).add_documents(pages)
    again = ColBERTVectorStore(str(tmp_path / "new"), encoder)
    assert ids_of(again.similarity_search(QUERY, k=1)) == ["notice"]


def test_open_refuses_a_folder_that_is_no_index(tmp_path: Path, encoder):
    with pytest.raises(IndexNotFoundError):
        ColBERTVectorStore.open(tmp_path / "none", encoder)
    assert not (tmp_path / "none").exists()


def test_another_model_than_the_indexs_is_refused(handbook):
    with pytest.raises(ModelMismatchError):
        ColBERTVectorStore(handbook.index.path, HashEncoder(dim=16))


def test_an_open_index_is_taken_as_it_is(handbook):
    store = ColBERTVectorStore(index=handbook.index)
    assert store.index is handbook.index
    assert store.encoder is handbook.index.encoder


@pytest.mark.parametrize("more", [{"path": "elsewhere"}, {"encoder": HashEncoder()}, {"lock_timeout_s": 1}])
def test_an_index_beside_another_argument_is_refused(handbook, more):
    with pytest.raises(InvalidArgumentError, match="takes an index, or a path and an encoder"):
        ColBERTVectorStore(index=handbook.index, **more)


def test_an_index_that_is_none_is_refused(handbook):
    with pytest.raises(InvalidArgumentError, match=r"open colbert_rag\.Index, found str\. Pass a folder as path="):
        ColBERTVectorStore(index=str(handbook.index.path))


@pytest.mark.parametrize("make", [ColBERTVectorStore, ColBERTVectorStore.open])
def test_a_path_that_is_no_folder_is_refused_with_where_it_goes(handbook, make):
    for wrong in (handbook.encoder, handbook.index, 3):
        with pytest.raises(InvalidArgumentError, match=f"found {type(wrong).__name__}. Pass an encoder as encoder="):
            make(wrong)
    with pytest.raises(InvalidArgumentError, match="DeterministicFakeEmbedding makes one vector of a text"):
        make(DeterministicFakeEmbedding(size=8))


def test_a_store_that_is_closed_answers_no_more(tmp_path: Path, encoder):
    with ColBERTVectorStore(tmp_path / "index", encoder) as store:
        store.add_texts(["a cat"])
    with pytest.raises(IndexClosedError):
        store.similarity_search("cat")
    store.close()
    assert (tmp_path / "index").exists()


def test_closing_a_temporary_store_removes_its_folder(encoder):
    with ColBERTVectorStore(encoder=encoder) as store:
        folder = store.index.path.parent
        assert folder.exists()
    assert not folder.exists()
    store.close()


def test_an_empty_index_that_is_passed_is_not_replaced(store):
    assert len(store.index) == 0
    assert ColBERTVectorStore(index=store.index).index is store.index


def test_without_a_path_the_folder_goes_with_the_store(encoder, pages):
    store = ColBERTVectorStore(encoder=encoder)
    folder = Path(store.index.path)
    store.add_documents(pages)
    assert ids_of(store.similarity_search(QUERY, k=1)) == ["notice"]
    retriever = store.as_retriever()
    del store
    gc.collect()
    assert folder.exists(), "the retriever holds the store"
    assert len(retriever.invoke(QUERY)) == 4
    kept = retriever.vectorstore.index
    del retriever
    gc.collect()
    assert not folder.parent.exists()
    with pytest.raises(IndexClosedError):
        kept.search(QUERY)


def test_a_temporary_folder_goes_when_the_encoder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ModelMismatchError) as error:
        ColBERTVectorStore(encoder=object())
    assert "object" in words(error)
    del error
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda embeddings: ColBERTVectorStore(encoder=embeddings),
        lambda embeddings: ColBERTVectorStore.from_texts(["a"], embeddings),
        lambda embeddings: ColBERTVectorStore.from_documents([Document(page_content="a")], embedding=embeddings),
        lambda embeddings: ColBERTVectorStore.open("index", embeddings),
    ],
)
def test_langchain_embeddings_are_refused_with_what_to_pass_instead(make):
    with pytest.raises(InvalidArgumentError) as error:
        make(DeterministicFakeEmbedding(size=8))
    assert isinstance(error.value, TypeError)
    assert isinstance(error.value, ColbertRagError)
    assert words(error).startswith("DeterministicFakeEmbedding makes one vector of a text")
    assert "pass encoder=" in words(error)


# --- adding


def test_from_texts_takes_the_encoder_in_either_place(tmp_path: Path, encoder):
    one = ColBERTVectorStore.from_texts(["a cat"], encoder, path=tmp_path / "one")
    other = ColBERTVectorStore.from_texts(["a cat"], encoder=encoder, path=tmp_path / "other")
    assert one.encoder is other.encoder is encoder
    with pytest.raises(InvalidArgumentError, match="both embedding and encoder"):
        ColBERTVectorStore.from_texts(["a cat"], encoder, encoder=encoder)


def test_from_documents_keeps_ids_and_metadata(tmp_path: Path, encoder, pages):
    store = ColBERTVectorStore.from_documents(iter(pages), encoder=encoder, path=tmp_path / "index")
    assert store.get_by_ids([page.id for page in pages]) == pages


async def test_from_documents_keeps_the_documents_own_ids_beside_ids_of_none(tmp_path: Path, encoder, pages):
    make = ColBERTVectorStore
    store = make.from_documents(pages, encoder, path=tmp_path / "one", ids=None)
    again = await make.afrom_documents(pages, encoder, path=tmp_path / "one", ids=None)
    assert sorted(again.index.ids()) == sorted(ids_of(pages))
    make.from_documents(pages[:2], index=store.index, ids=["call", None])
    assert sorted(store.index.ids()) == sorted([*ids_of(pages), "call"])
    with pytest.raises(InvalidArgumentError, match="from_documents takes no argument 'namespace'"):
        make.from_documents(pages, encoder, namespace="x")


async def test_afrom_texts_and_afrom_documents_need_no_embedding(tmp_path: Path, encoder, pages):
    store = await ColBERTVectorStore.afrom_documents(pages, encoder=encoder, path=tmp_path / "index")
    assert await store.aget_by_ids(["frist"]) == [pages[3]]
    again = await ColBERTVectorStore.afrom_texts(["more"], metadatas=[{"n": 1}], ids=["m"], index=store.index)
    assert again.get_by_ids(["m"]) == [Document(id="m", page_content="more", metadata={"n": 1})]


def test_from_texts_refuses_an_option_of_other_stores():
    with pytest.raises(InvalidArgumentError) as error:
        ColBERTVectorStore.from_texts(["a"], persist_directory="x")
    assert words(error) == (
        "ColBERTVectorStore.from_texts takes no argument 'persist_directory'; "
        "it takes path, encoder, index, lock_timeout_s."
    )


METADATA = {
    "id": 5,
    "text": "überall",
    "none": None,
    "flag": True,
    "float": 1.0,
    "list": [1, "two", [3.5, None], {"deep": False}],
    "nested": {"a": {"b.c": -0.5}, "": "empty"},
    "relevance_score": "the user's own",
}


def test_documents_come_back_exactly(store):
    added = Document(id="x", page_content="  a cat\n\tsleeps  ", metadata=METADATA)
    store.add_documents([added])
    for found in (
        store.get_by_ids(["x"])[0],
        store.similarity_search("cat")[0],
        store.similarity_search("cat", mode="bm25")[0],
        store.max_marginal_relevance_search("cat")[0],
    ):
        assert found == added
        assert repr(found.metadata) == repr(METADATA), "types too"


def test_a_document_that_is_found_may_be_changed_without_harm(handbook):
    found = handbook.similarity_search(QUERY, k=1)[0]
    found.metadata["year"] = 1900
    assert handbook.similarity_search(QUERY, k=1)[0].metadata["year"] == 2024


async def test_callers_that_share_a_pass_do_not_share_metadata(store):
    store.add_texts(["a cat"], [{"n": 1, "list": [1], "nested": {"a": [2]}}])
    found = await asyncio.gather(*(store.asimilarity_search("cat") for _ in range(5)))
    for [document] in found:
        assert document.metadata == {"n": 1, "list": [1], "nested": {"a": [2]}}
        document.metadata["n"] = 9
        document.metadata["list"].append(9)
        document.metadata["nested"]["a"].append(9)


def test_adding_does_not_change_the_documents(store):
    document = Document(page_content="a cat", metadata={"n": 1})
    before = document.model_copy(deep=True)
    [new_id] = store.add_documents([document])
    assert document == before
    assert document.id is None
    assert store.get_by_ids([new_id])[0].page_content == "a cat"


def test_an_id_of_the_call_goes_ahead_of_the_documents_own_and_a_new_one_is_made_where_neither_is(store):
    documents = [Document(id=own, page_content="a cat") for own in ("own", "own2", None)]
    first, second, third = store.add_documents(documents, ids=["call", None, None])
    assert (first, second) == ("call", "own2")
    assert len(third) == 36
    assert set(store.index.ids()) == {first, second, third}


@pytest.mark.parametrize("ids", [["a"], ["a", "b", "c"]])
def test_too_few_or_too_many_ids_or_metadatas_are_refused(store, ids):
    with pytest.raises(InvalidDocumentError, match=f"{len(ids)} ids for 2 documents"):
        store.add_texts(["one", "two"], ids=ids)
    with pytest.raises(InvalidDocumentError, match=f"{len(ids)} metadatas for 2 texts"):
        store.add_texts(["one", "two"], [{} for _ in ids])
    assert len(store.index) == 0


async def test_texts_may_come_from_a_generator(store):
    assert len(store.add_texts(text for text in ("one", "two"))) == 2
    assert len(await store.aadd_texts(text for text in ("three", "four"))) == 2
    assert len(store.index) == 4


async def test_a_text_alone_is_not_taken_for_a_list_of_letters(store):
    with pytest.raises(InvalidDocumentError, match="wrap one text in a list"):
        store.add_texts("one")
    with pytest.raises(InvalidDocumentError, match="wrap one text in a list"):
        await store.aadd_texts("one")


def test_metadata_that_json_cannot_hold_is_refused(store):
    with pytest.raises(InvalidDocumentError, match="tuple"):
        store.add_texts(["a cat"], [{"size": (1, 2)}])


def test_batch_size_is_the_number_of_documents_per_commit(store):
    with pytest.raises(InvalidDocumentError):
        store.add_texts(["one", "two", "three"], ids=list("abc"), batch_size=0)
    store.add_texts(["one", "two", "three"], ids=list("abc"), batch_size=2)
    assert list(store.index.ids()) == ["a", "b", "c"]
    assert store.index.info().n_segments == 2


def test_the_same_documents_again_are_not_encoded_again(new_store, pages):
    class Counting(HashEncoder):
        texts = 0

        def encode_documents(self, texts, *, progress=None):
            self.texts += len(texts)
            return super().encode_documents(texts, progress=progress)

    encoder = Counting()
    store = new_store(given=encoder)
    store.add_documents(pages)
    store.add_documents(pages)
    assert encoder.texts == len(pages)


# --- deleting


def test_delete_takes_ids_and_leaves_out_unknown_ones(handbook):
    assert handbook.delete(["notice", "nowhere"]) is True
    assert set(handbook.index.ids()) == {"leave", "remote", "frist"}


def test_delete_of_nothing_deletes_nothing_and_of_none_everything(handbook):
    handbook.delete([])
    assert len(handbook.index) == 4
    handbook.delete()
    assert len(handbook.index) == 0
    assert handbook.similarity_search(QUERY) == []


@pytest.fixture(params=["sync", "async"])
def delete(request: pytest.FixtureRequest, handbook):
    """Both ways to delete, and what is left then."""

    async def run(*given, **options):
        answer = (
            await handbook.adelete(*given, **options)
            if request.param == "async"
            else handbook.delete(*given, **options)
        )
        assert answer is True
        return set(handbook.index.ids())

    return run


@pytest.mark.parametrize(
    "chosen",
    [
        {"lang": "en", "year": {"$lt": 2024}},
        filters.And((filters.Compare("lang", "eq", "en"), filters.Compare("year", "lt", 2024))),
        lambda document: type(document) is Document and document.metadata["year"] in (2020, 2022),
    ],
)
async def test_delete_takes_the_filters_of_a_search(delete, chosen):
    assert await delete(filter=chosen) == {"notice", "frist"}


async def test_delete_by_the_empty_filter_and_by_nothing_deletes_everything(delete, handbook, pages):
    assert await delete(filter={}) == set()
    handbook.add_documents(pages)
    assert await delete() == set()


async def test_delete_takes_ids_or_a_filter_and_a_filter_of_none_is_not_everything(delete, handbook):
    with pytest.raises(InvalidArgumentError, match="takes ids or a filter, one of them"):
        await delete(["notice"], filter={"lang": "de"})
    with pytest.raises(InvalidArgumentError, match="got filter=None and no ids"):
        await delete(filter=None)
    with pytest.raises(InvalidFilterError):
        await delete(filter={"year": {"$gt_e": 2021}})
    assert len(handbook.index) == 4
    assert await delete(["notice"], filter=None) == {"leave", "remote", "frist"}


# --- searching


def test_filters_restrict_every_search(handbook):
    german = {"lang": "de"}
    assert ids_of(handbook.similarity_search(QUERY, filter=german)) == ["frist"]
    assert ids_of(d for d, _ in handbook.similarity_search_with_score(QUERY, filter=german)) == ["frist"]
    assert ids_of(d for d, _ in handbook.similarity_search_with_relevance_scores(QUERY, filter=german)) == ["frist"]
    assert ids_of(handbook.max_marginal_relevance_search(QUERY, filter=german)) == ["frist"]
    assert ids_of(handbook.similarity_search(QUERY, filter={"year": {"$gte": 2021}, "lang": "en"}, k=9)) == [
        "notice",
        "remote",
    ]


def test_a_wrong_filter_is_refused(handbook):
    with pytest.raises(InvalidFilterError, match="gte"):
        handbook.similarity_search(QUERY, filter={"year": {"$gt_e": 2021}})


def test_modes_rank_by_what_they_say(handbook):
    assert ids_of(handbook.similarity_search("Frist", mode="bm25")) == ["frist"]
    assert ids_of(handbook.similarity_search("Frist", k=1, mode="hybrid")) == ["frist"]
    with pytest.raises(InvalidQueryError, match="mode must be one of"):
        handbook.similarity_search("Frist", mode="dense")


def test_the_score_is_maxsim_and_the_relevance_is_it_by_the_number_of_query_vectors(handbook):
    query = "the notice period"
    [(document, score)] = handbook.similarity_search_with_score(query, k=1)
    assert document.id == "notice"
    assert type(score) is float
    assert score == pytest.approx(3, abs=0.01)
    for (one, score), (other, relevance) in zip(
        handbook.similarity_search_with_score(query),
        handbook.similarity_search_with_relevance_scores(query),
        strict=True,
    ):
        assert one == other
        assert relevance == pytest.approx(min(1, max(0, score / 3)), abs=1e-6)


def test_a_threshold_keeps_what_reaches_it(handbook):
    retriever = handbook.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.9, "k": 4}
    )
    assert ids_of(retriever.invoke("notice period")) == ["notice"]


def test_relevance_by_words_alone_is_refused(handbook):
    with pytest.raises(InvalidQueryError, match="computes no MaxSim"):
        handbook.similarity_search_with_relevance_scores(QUERY, mode="bm25")


async def test_relevance_by_words_alone_is_refused_in_async_too(handbook):
    with pytest.raises(InvalidQueryError, match="computes no MaxSim"):
        await handbook.asimilarity_search_with_relevance_scores(QUERY, mode="bm25")


@pytest.fixture
def alike(store):
    store.add_texts(["red cat", "red cat red", "red dog", "blue bird"], ids=["cat", "cat2", "dog", "bird"])
    return store


def test_marginal_relevance_passes_over_what_is_like_a_document_above(alike):
    assert ids_of(alike.similarity_search("red cat", k=2)) == ["cat", "cat2"]
    assert ids_of(alike.max_marginal_relevance_search("red cat", k=2, lambda_mult=1)) == ["cat", "cat2"]
    diverse = ids_of(alike.max_marginal_relevance_search("red cat", k=2, lambda_mult=0.2))
    assert diverse[0] == "cat"
    assert diverse[1] in ("dog", "bird")
    assert ids_of(alike.max_marginal_relevance_search("red cat", k=2, fetch_k=2, lambda_mult=0)) == ["cat", "cat2"]


async def test_a_wrong_weight_of_relevance_is_refused(alike):
    for wrong in ("0.5", 2):
        with pytest.raises(InvalidArgumentError, match="lambda_mult must be a number from 0"):
            alike.max_marginal_relevance_search("red cat", lambda_mult=wrong)
        with pytest.raises(InvalidArgumentError, match=r"amax_marginal.*: lambda_mult must be a number from 0"):
            await alike.amax_marginal_relevance_search("red cat", lambda_mult=wrong)


def test_writes_refuse_what_is_no_list_of_documents_or_of_ids(store):
    for documents in (Document(page_content="a"), ["a"]):
        with pytest.raises(InvalidArgumentError, match="Nothing was written"):
            store.add_documents(documents)
    with pytest.raises(InvalidArgumentError, match="ids must be a list of str"):
        store.add_texts(["one", "two"], ids="xy")
    assert len(store.index) == 0


async def test_marginal_relevance_is_the_same_in_async_and_in_a_retriever(alike):
    options = {"k": 2, "lambda_mult": 0.2, "fetch_k": 4}
    expected = alike.max_marginal_relevance_search("red cat", **options)
    assert await alike.amax_marginal_relevance_search("red cat", **options) == expected
    retriever = alike.as_retriever(search_type="mmr", search_kwargs=options)
    assert retriever.invoke("red cat") == await retriever.ainvoke("red cat") == expected


def test_config_reaches_the_search(handbook):
    class Wrong:
        pass

    with pytest.raises(InvalidQueryError, match="n_candidates"):
        handbook.similarity_search(QUERY, config=SearchConfig(n_candidates=0))
    with pytest.raises(InvalidQueryError, match="SearchConfig, found Wrong"):
        handbook.similarity_search(QUERY, config=Wrong())
    assert len(handbook.similarity_search(QUERY, config=SearchConfig(exact=True), filter=None, mode=None)) == 4


SEARCHES = [
    "similarity_search",
    "similarity_search_with_score",
    "similarity_search_with_relevance_scores",
    "max_marginal_relevance_search",
]


@pytest.mark.parametrize("name", SEARCHES)
async def test_an_unknown_argument_is_refused_by_every_search(handbook, name: str):
    with pytest.raises(InvalidArgumentError) as error:
        getattr(handbook, name)(QUERY, top_k=3)
    own = {SEARCHES[2]: "score_threshold, ", SEARCHES[3]: "fetch_k, lambda_mult, "}.get(name, "")
    expected = f"ColBERTVectorStore.{name} takes no argument 'top_k'; it takes query, k, {own}filter, mode, config."
    assert words(error) == expected
    with pytest.raises(InvalidArgumentError, match=f"a{name} takes no argument 'top_k'"):
        await getattr(handbook, f"a{name}")(QUERY, top_k=3)


def test_an_unknown_argument_is_refused_by_writes_and_through_a_retriever(handbook, pages):
    with pytest.raises(InvalidArgumentError, match="add_documents takes no argument 'namespace'"):
        handbook.add_documents(pages, namespace="x")
    with pytest.raises(InvalidArgumentError, match="add_documents takes no argument 'namespace'"):
        handbook.add_texts(["x"], namespace="x")
    with pytest.raises(InvalidArgumentError, match="delete takes no argument 'delete_all'"):
        handbook.delete(delete_all=True)
    with pytest.raises(InvalidArgumentError, match="takes no argument 'score_threshold'"):
        handbook.as_retriever(search_kwargs={"score_threshold": 0.9}).invoke(QUERY)
    with pytest.raises(InvalidArgumentError, match="takes no argument 'top_k'"):
        handbook.as_retriever().invoke(QUERY, top_k=3)


@pytest.mark.parametrize("name", SEARCHES)
async def test_async_searches_find_the_same(handbook, name: str):
    options = {"k": 3, "filter": {"lang": "en"}, "mode": "hybrid"}
    assert await getattr(handbook, f"a{name}")(QUERY, **options) == getattr(handbook, name)(QUERY, **options)


async def test_searching_by_one_vector_is_refused_with_words(handbook):
    for name in ("similarity_search_by_vector", "max_marginal_relevance_search_by_vector"):
        with pytest.raises(NotImplementedError, match="a query has a vector per token"):
            getattr(handbook, name)([0.1, 0.2])
        with pytest.raises(NotImplementedError, match="a query has a vector per token"):
            await getattr(handbook, f"a{name}")([0.1, 0.2])


# --- retrievers of LangChain


def test_as_retriever_is_langchains_own_and_a_call_overrides_its_search_kwargs(handbook):
    retriever = handbook.as_retriever(search_kwargs={"k": 2, "filter": {"lang": "en"}})
    assert type(retriever) is VectorStoreRetriever
    assert retriever.tags == ["ColBERTVectorStore"]
    assert len(retriever.invoke(QUERY)) == 2
    assert ids_of(retriever.invoke(QUERY, filter={"lang": "de"}, verbose=False)) == ["frist"]
    assert retriever._get_ls_params()["ls_vector_store_provider"] == "ColBERTVectorStore"


@pytest.mark.parametrize("search_type", ["similarity", "mmr"])
def test_search_takes_langchains_search_types(handbook, search_type: str):
    assert handbook.search(QUERY, search_type, k=1)[0].id == "notice"


# --- what LangChain builds on a store


def source(name: str, text: str) -> Document:
    return Document(page_content=text, metadata={"source": name})


def test_the_indexing_api_adds_skips_and_deletes(store):
    records = InMemoryRecordManager("handbook")
    records.create_schema()

    def sync(documents, cleanup):
        options = {"source_id_key": "source", "key_encoder": "sha256", "batch_size": 2}
        return index(documents, records, store, cleanup=cleanup, **options)

    first = [source("a", "one cat"), source("a", "two dogs"), source("b", "three birds")]
    assert sync(first, "incremental") == {"num_added": 3, "num_updated": 0, "num_skipped": 0, "num_deleted": 0}
    changed = [source("a", "one cat"), source("a", "two wolves")]
    assert sync(changed, "incremental") == {"num_added": 1, "num_updated": 0, "num_skipped": 1, "num_deleted": 1}
    assert {d.page_content for d in store.similarity_search("cat", k=9)} == {"one cat", "two wolves", "three birds"}
    assert sync([], "full")["num_deleted"] == 3
    assert len(store.index) == 0


async def test_the_async_indexing_api_does_the_same(store):
    records = InMemoryRecordManager("handbook")
    await records.acreate_schema()
    options = {"cleanup": "full", "source_id_key": "source", "key_encoder": "sha256"}
    assert (await aindex([source("a", "cat"), source("a", "dog")], records, store, **options))["num_added"] == 2
    assert (await aindex([source("a", "cat")], records, store, **options))["num_deleted"] == 1
    assert len(store.index) == 1


# --- one folder for all


def test_what_the_core_added_comes_back_as_text_metadata_and_id(new_index, encoder):
    core = new_index()
    core.add([CoreDocument("c", "a cat", {"n": 1}, heading="Animals", ref_id="book", extra={"node": [1]})])
    store = ColBERTVectorStore(core.path, encoder)
    expected = Document(id="c", page_content="a cat", metadata={"n": 1})
    assert store.get_by_ids(["c"]) == store.similarity_search("cat") == [expected]


def test_what_the_store_added_the_core_reads(handbook, encoder):
    with Index.open(handbook.index.path, encoder) as core:
        found = core.get("notice")
        assert found == CoreDocument("notice", "The notice period is three months.", {"year": 2024, "lang": "en"})
        assert (found.heading, found.ref_id, found.extra) == ("", None, None)


# --- copies


def test_a_pickled_store_opens_the_same_folder(handbook):
    again = pickle.loads(pickle.dumps(handbook))
    assert again.index is not handbook.index
    assert again.similarity_search_with_score(QUERY) == handbook.similarity_search_with_score(QUERY)
    again.index.close()


def test_a_temporary_store_refuses_to_be_pickled(encoder):
    with pytest.raises(TypeError, match="temporary folder and cannot be pickled"):
        pickle.dumps(ColBERTVectorStore(encoder=encoder))


def test_a_copy_is_a_handle_on_the_same_folder(handbook):
    assert copy.copy(handbook) is handbook
    assert copy.deepcopy({"store": handbook})["store"] is handbook


def test_the_repr_is_short(handbook):
    assert repr(handbook) == f"ColBERTVectorStore({str(handbook.index.path)!r})"
